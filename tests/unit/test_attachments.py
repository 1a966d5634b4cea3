"""Attachments that need no network: what they become, and their limits."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from support.pictures import jpeg, png

from turnstream.errors import TurnError
from turnstream.fetch import Fetcher
from turnstream.settings import FetchSettings
from turnstream.turns import Item
from turnstream_worker.attachments import AttachmentLimits, Attachments

PDF = b"%PDF-1.7\nall of it is text"
TEXT = {"type": "input_text", "text": "hello"}


@pytest.fixture
def attachments() -> Iterator[Attachments]:
    """Attachments of up to 1000 bytes, and 3 of up to 1500 bytes together."""
    fetcher = Fetcher(FetchSettings())
    yield Attachments(fetcher, AttachmentLimits(count=3, each=1000, together=1500))
    fetcher.close()


def data_url(media_type: str, body: bytes) -> str:
    """Make a data URL."""
    return f"data:{media_type};base64,{b64encode(body).decode()}"


def image(body: bytes, media_type: str = "image/png", **more: Any) -> dict[str, Any]:
    """Make an image's part."""
    return {"type": "input_image", "image_url": data_url(media_type, body), **more}


def file(body: bytes, media_type: str = "", **more: Any) -> dict[str, Any]:
    """Make a file's part."""
    return {"type": "input_file", "file_data": data_url(media_type, body), **more}


def message(*parts: dict[str, Any]) -> Item:
    """Make a message's item."""
    return {"type": "message", "id": "msg_1", "role": "user", "status": "completed", "content": list(parts)}


def returned(output: Any) -> Item:
    """Make a function call output's item."""
    return {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": output}


async def resolved(attachments: Attachments, part: dict[str, Any]) -> dict[str, Any]:
    """Return what a part becomes."""
    (item,) = await attachments.resolve([message(TEXT, part)])
    assert item["content"][0] == TEXT
    became: dict[str, Any] = item["content"][1]
    return became


async def failure(attachments: Attachments, *items: Item) -> TurnError:
    """Return the error that items end with."""
    with pytest.raises(TurnError) as failed:
        await attachments.resolve(list(items))
    return failed.value


async def test_nothing_to_do(attachments: Attachments) -> None:
    """Items without attachments are handed back as they came."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    items = [message(TEXT), call, returned("text"), returned([TEXT])]
    assert await attachments.resolve(items) is items


async def test_image(attachments: Attachments) -> None:
    """An image gets the type that it has; what else is said of it stays."""
    part = image(jpeg(), "image/jpg", detail="low")
    assert await resolved(attachments, part) == image(jpeg(), "image/jpeg", detail="low")


async def test_items_are_left_as_they_are(attachments: Attachments) -> None:
    """Resolving changes copies alone: the items are stored again later."""
    items = [message(file(b"a")), message(TEXT), returned([image(jpeg(), "image/x")])]
    await attachments.resolve(items)
    assert items == [message(file(b"a")), message(TEXT), returned([image(jpeg(), "image/x")])]


async def test_places(attachments: Attachments) -> None:
    """Attachments keep their places, in messages and in functions' outputs."""
    items = [message(file(b"a", filename="a"), TEXT, file(b"b", filename="b")), returned([TEXT, image(png())])]
    first, second = await attachments.resolve(items)
    texts = [part["text"] for part in first["content"]]
    assert texts == ['\n<file name="a">\na\n</file>\n', "hello", '\n<file name="b">\nb\n</file>\n']
    assert second == items[1]


@pytest.mark.parametrize(
    ("body", "media_type", "text"),
    [
        (b"a,b\n1,2\n", "text/csv", "a,b\n1,2\n"),
        (b'{"a": 1}', "application/json", '{"a": 1}'),
        ("héllo".encode(), "", "héllo"),
        (b"\xef\xbb\xbfhello", "text/plain", "hello"),
        (b"def f():\n\treturn 1\r\n", "application/octet-stream", "def f():\n\treturn 1\r\n"),
        (b"<svg/>", "image/svg+xml", "<svg/>"),
    ],
)
async def test_text(attachments: Attachments, body: bytes, media_type: str, text: str) -> None:
    """A file of text, whatever its type is called, becomes text with the file's name."""
    part = await resolved(attachments, file(body, media_type, filename="notes.txt"))
    assert part == {"type": "input_text", "text": f'\n<file name="notes.txt">\n{text}\n</file>\n'}


@pytest.mark.parametrize(
    ("body", "said", "media_type"),
    [
        (PDF, "", "application/pdf"),
        (PDF, "text/plain", "application/pdf"),
        (b"PK\x03\x04", "application/zip", "application/zip"),
        (b"\xff\xfeh\0i\0", "text/plain", "text/plain"),
        (b"caf\xe9", "text/csv", "text/csv"),
        (png(), "image/png", "image/png"),
    ],
)
async def test_other_files(attachments: Attachments, body: bytes, said: str, media_type: str) -> None:
    """A PDF, and whatever is no text, stays a file, with its data as a data URL."""
    part = await resolved(attachments, file(body, said, filename="a"))
    assert part == {"type": "input_file", "filename": "a", "file_data": data_url(media_type, body)}


async def test_bare_base64(attachments: Attachments) -> None:
    """A file's data may come without the header of a data URL."""
    part = {"type": "input_file", "filename": "a.pdf", "file_data": b64encode(PDF).decode()}
    assert (await resolved(attachments, part))["file_data"] == data_url("application/pdf", PDF)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, "file"),
        ("", "file"),
        ('a"\n>b\u202e.txt', "a>b.txt"),
        ("résumé.txt", "résumé.txt"),
        ("x" * 999, "x" * 255),
    ],
)
async def test_names(attachments: Attachments, name: str | None, shown: str) -> None:
    """A file's name is shown without what would break out of it, and there is always one."""
    part = await resolved(attachments, file(b"a", filename=name))
    assert part["text"].startswith(f'\n<file name="{shown}">\n')


async def test_video(attachments: Attachments) -> None:
    """A video gets the type that its first bytes say."""
    video = b"\0\0\0\x18ftypqt  "
    part = {"type": "input_video", "video_url": data_url("video/mp4", video)}
    assert await resolved(attachments, part) == {**part, "video_url": data_url("video/quicktime", video)}


@pytest.mark.parametrize(
    ("part", "code", "message"),
    [
        (image(b"hello", "text/plain"), "invalid_image_format", "not an image"),
        (image(b""), "empty_image_file", "It is empty."),
        (image(png(1 << 20, 1 << 20)), "image_too_large", "1048576 x 1048576 pixels"),
        (image(bytes(1001)), "image_file_too_large", "larger than 1000 bytes"),
        ({"type": "input_image"}, "invalid_image_url", "neither data nor a URL"),
        (file(b"a" * 1001), "invalid_prompt", "larger than 1000 bytes"),
        (file(b""), "invalid_prompt", "It is empty."),
    ],
)
async def test_bad_attachments(attachments: Attachments, part: dict[str, Any], code: str, message: str) -> None:
    """A bad attachment fails the turn with OpenAI's code for images, and says where it stands and what is wrong."""
    failed = await failure(attachments, returned([TEXT, part]))
    noun = "image" if part["type"] == "input_image" else "file"
    assert failed.message.startswith(f"The {noun} in output[1] of fco_1 cannot be used. ")
    assert message in failed.message
    assert failed.code == code


async def test_number(attachments: Attachments) -> None:
    """A turn takes so many attachments and no more."""
    await attachments.resolve([message(file(b"a")), message(file(b"b"), file(b"c"))])
    failed = await failure(attachments, message(file(b"a")), message(file(b"b"), file(b"c"), file(b"d")))
    assert failed.code == "invalid_prompt"
    assert "has 4 attachments; at most 3 are taken" in failed.message


async def test_bytes_together(attachments: Attachments) -> None:
    """A turn's attachments take so many bytes together and no more."""
    await attachments.resolve([message(file(b"a" * 1000), file(b"b" * 500))])
    failed = await failure(attachments, message(file(b"a" * 1000), file(b"b" * 501)))
    assert failed.code == "invalid_prompt"
    assert "attachments of more than 1500 bytes" in failed.message
