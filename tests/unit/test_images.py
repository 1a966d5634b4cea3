"""Images are known by their bytes, and those that no decoder should be asked to hold are refused."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.pictures import extended_webp, gif, jpeg, lossless_webp, lossy_webp, png, segment, webp

from turnstream.errors import MediaError
from turnstream.images import PIXEL_LIMIT, SIDE_LIMIT, verified_image
from turnstream.media import Media

type Maker = Callable[[int, int], bytes]

MAKERS: dict[str, Maker] = {
    "PNG": png,
    "JPEG": jpeg,
    "GIF": gif,
    "lossy WebP": lossy_webp,
    "lossless WebP": lossless_webp,
    "extended WebP": extended_webp,
}
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def code(body: bytes, media_type: str = "image/png") -> str:
    """Return the code with which an image is refused."""
    with pytest.raises(MediaError) as refused:
        verified_image(Media(media_type, body))
    return refused.value.image_code


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (png(), "image/png"),
        (gif(), "image/gif"),
        (gif().replace(b"89a", b"87a"), "image/gif"),
        (jpeg(), "image/jpeg"),
        (jpeg(2, 3, frame=0xC2), "image/jpeg"),
        (jpeg(2, 3, b"\xff\xff", segment(0xE1, bytes(60000)), segment(0xC4, bytes(20))), "image/jpeg"),
        (lossy_webp(), "image/webp"),
        (lossless_webp(), "image/webp"),
        (extended_webp(), "image/webp"),
    ],
)
@pytest.mark.parametrize("said", ["image/jpg", "text/html", "application/octet-stream"])
def test_type_is_what_the_bytes_say(body: bytes, media_type: str, said: str) -> None:
    """An image has the type of its bytes, whatever its server or its sender calls it."""
    assert verified_image(Media(said, body)) == Media(media_type, body)


@each_maker
def test_largest_image(make: Maker) -> None:
    """An image may be as wide or as high as the limit, and not more."""
    verified_image(Media("", make(SIDE_LIMIT - 1, 2)))
    verified_image(Media("", make(2, SIDE_LIMIT - 1)))
    if make not in {lossy_webp, lossless_webp}:  # their sides have 14 bits
        assert code(make(SIDE_LIMIT + 1, 2)) == "image_too_large"
        assert code(make(2, SIDE_LIMIT + 1)) == "image_too_large"


@each_maker
def test_too_many_pixels(make: Maker) -> None:
    """An image may not have more pixels in all than the limit, however its sides are."""
    side = int(PIXEL_LIMIT**0.5)
    verified_image(Media("", make(side, side)))
    assert code(make(side + 1, side)) == "image_too_large"


def test_message_names_the_size() -> None:
    """The error says how large the image is, and how large it may be."""
    with pytest.raises(MediaError, match=r"100000 x 99999 pixels; up to 16384 a side and 100000000 in all"):
        verified_image(Media("", png(100_000, 99_999)))


@pytest.mark.parametrize(
    "body",
    [
        png()[:20],
        png().replace(b"IHDR", b"IDAT"),
        png(0, 5),
        png(5, 0),
        gif()[:8],
        gif(0, 0),
        jpeg()[:20],
        jpeg(2, 3, segment(0xE0, b""), b"\x00\x00\x00\x00"),
        jpeg(2, 3, *([segment(0xE0, b"")] * 1001)),
        b"\xff\xd8\xff",
        lossy_webp()[:27],
        lossless_webp()[:22],
        extended_webp()[:29],
        webp(b"ICCP", bytes(20)),
        b"RIFF\0\0\0\0WEBP",
    ],
)
def test_broken_images(body: bytes) -> None:
    """An image whose size cannot be read, or that has none, is broken."""
    assert code(body) == "image_parse_error"


@pytest.mark.parametrize(
    ("body", "said", "expected"),
    [
        (b"<svg/>", "image/svg+xml", "unsupported_image_media_type"),
        (b"BM", "image/bmp", "unsupported_image_media_type"),
        (b"<html>", "text/html", "invalid_image_format"),
        (b"RIFF\0\0\0\0WAVE", "audio/wav", "invalid_image_format"),
        (b"%PDF-1.7", "application/pdf", "invalid_image_format"),
    ],
)
def test_what_is_no_image(body: bytes, said: str, expected: str) -> None:
    """What is an image of another type is told from what is none."""
    assert code(body, said) == expected


@given(
    st.sampled_from([make(2, 3) for make in MAKERS.values()]),
    st.integers(0, 40),
    st.binary(max_size=60),
)
@example(b"\xff\xd8\xff", 3, b"\xff" * 60)
def test_any_bytes_are_read_or_refused(image: bytes, kept: int, rest: bytes) -> None:
    """However an image goes on after its beginning, it is taken or refused in our words."""
    with suppress(MediaError):
        verified_image(Media("image/png", image[:kept] + rest))
