"""What the gateway can tell of an attachment before it accepts a turn."""

from base64 import b64encode
from typing import Any

import pytest
from support.pictures import png

from turnstream.attachment import check_attachment, is_attachment
from turnstream.errors import MediaError

LIMIT = 1000


def data_url(media_type: str, body: bytes) -> str:
    """Make a data URL."""
    return f"data:{media_type};base64,{b64encode(body).decode()}"


def image(url: str) -> dict[str, Any]:
    """Make an image's part."""
    return {"type": "input_image", "image_url": url, "detail": "auto"}


def code(part: dict[str, Any]) -> str:
    """Return the code with which an attachment is refused."""
    with pytest.raises(MediaError) as refused:
        check_attachment(part, LIMIT)
    return refused.value.image_code


@pytest.mark.parametrize(
    "part",
    [
        image(data_url("image/png", png())),
        image("https://example.com/cat.png?signature=x"),
        image("HTTP://example.com"),
        {"type": "input_file", "filename": "a.txt", "file_data": b64encode(b"hello").decode()},
        {"type": "input_file", "filename": "a.txt", "file_data": data_url("text/plain", b"hello")},
        {"type": "input_file", "file_data": None, "file_url": "https://example.com/a.pdf"},
        {"type": "input_video", "video_url": data_url("video/x-matroska", b"x")},
        {"type": "input_video", "video_url": data_url("", b"\0\0\0\x18ftypisom")},
        {"type": "input_video", "video_url": data_url("", b"\x1aE\xdf\xa3")},
        {"type": "input_video", "video_url": "https://example.com/a.mp4"},
    ],
)
def test_good_attachments(part: dict[str, Any]) -> None:
    """What carries an image, a file or a video, or names one by a web URL, may be accepted."""
    assert is_attachment(part)
    check_attachment(part, LIMIT)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (image("cat.png"), "invalid_image_url"),
        (image("ftp://example.com/cat.png"), "invalid_image_url"),
        (image("file:///etc/passwd"), "invalid_image_url"),
        (image("https://"), "invalid_image_url"),
        (image(""), "invalid_image_url"),
        ({"type": "input_image"}, "invalid_image_url"),
        (image("data:image/png,xyz"), "invalid_image_url"),
        (image("data:image/png;base64,x"), "invalid_base64_image"),
        (image("data:image/png;base64,"), "empty_image_file"),
        (image(data_url("image/png", bytes(LIMIT + 1))), "image_file_too_large"),
        (image(data_url("image/png", b"hello")), "unsupported_image_media_type"),
        (image(data_url("image/png", png(100_000, 100_000))), "image_too_large"),
    ],
)
def test_bad_images(part: dict[str, Any], expected: str) -> None:
    """An image that is of no use is refused with OpenAI's code for the reason."""
    assert code(part) == expected


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "input_file", "filename": "a.txt"}, "neither data nor a URL"),
        ({"type": "input_file", "file_data": "a.txt"}, "not valid base64"),
        ({"type": "input_file", "file_data": data_url("text/plain", b"")}, "empty"),
        ({"type": "input_file", "file_url": "a.txt"}, "must begin with https"),
        ({"type": "input_video", "video_url": data_url("text/plain", b"hello")}, "not a video"),
        ({"type": "input_video", "video_url": data_url("video/mp4", bytes(LIMIT + 1))}, "larger than 1000 bytes"),
    ],
)
def test_bad_files_and_videos(part: dict[str, Any], message: str) -> None:
    """A file or a video that is of no use is refused with the reason."""
    with pytest.raises(MediaError, match=message):
        check_attachment(part, LIMIT)


def test_text_is_no_attachment() -> None:
    """Text needs no looking after."""
    assert not is_attachment({"type": "input_text", "text": "hello"})
