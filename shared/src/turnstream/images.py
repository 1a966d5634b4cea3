"""Images: which type they have and how many pixels, by their first bytes.

Nothing is decoded: a decoder is the model's provider's, and what one is asked to hold is limited here.
"""

from struct import error as StructError  # noqa: N812 - its own name says nothing
from struct import unpack_from

from turnstream.errors import MediaError
from turnstream.media import Media

SIDE_LIMIT = 16_384  # pixels
PIXEL_LIMIT = 100_000_000  # 400 MB once decoded

_SUPPORTED = "PNG, JPEG, GIF and WebP images are supported."
_SEGMENTS_LIMIT = 1000  # of a JPEG, before its size; cameras and editors write a few dozen
# The markers that a frame, which has the size, begins with (ITU T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_JPEG_FILL = 0xFFFF


def verified_image(media: Media) -> Media:
    """Return an image with the type that its bytes have, whatever it was said to be.

    Raises MediaError if it is not of a supported type, is broken at its beginning, or has too many pixels.
    """
    media_type = _type(media.body)
    if media_type is None:
        another = media.media_type.startswith("image/")
        code = "unsupported_image_media_type" if another else "invalid_image_format"
        raise MediaError(f"It is not an image of a type that is read. {_SUPPORTED}", image_code=code)
    try:
        width, height = _size(media_type, media.body)
    except (StructError, ValueError) as error:
        raise MediaError("The image is broken: its size cannot be read.", image_code="image_parse_error") from error
    if not (width and height):
        raise MediaError("The image is broken: it has no pixels.", image_code="image_parse_error")
    if max(width, height) > SIDE_LIMIT or width * height > PIXEL_LIMIT:
        allowed = f"{SIDE_LIMIT} a side and {PIXEL_LIMIT} in all are taken"
        raise MediaError(f"It has {width} x {height} pixels; up to {allowed}.", image_code="image_too_large")
    return Media(media_type, media.body)


def _type(body: bytes) -> str | None:
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "image/webp"
    return None


def _size(media_type: str, body: bytes) -> tuple[int, int]:
    """Return width and height; raise struct's error or ValueError if they do not stand where they should."""
    match media_type:
        case "image/png":
            return _png_size(body)
        case "image/jpeg":
            return _jpeg_size(body)
        case "image/gif":
            width, height = unpack_from("<HH", body, 6)
            return width, height
        case _:
            return _webp_size(body)


def _png_size(body: bytes) -> tuple[int, int]:
    kind, width, height = unpack_from(">4sII", body, 12)
    if kind != b"IHDR":
        raise ValueError("a PNG begins with its header")
    return width, height


def _jpeg_size(body: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(_SEGMENTS_LIMIT):
        marker, length = unpack_from(">HH", body, at)
        if marker in _JPEG_FRAMES:
            height, width = unpack_from(">HH", body, at + 5)
            return width, height
        if marker < 0xFF01:  # noqa: PLR2004 - what no marker is
            break
        at += 1 if marker == _JPEG_FILL else 2 + length
    raise ValueError("a JPEG has a frame after some segments")


def _webp_size(body: bytes) -> tuple[int, int]:
    match body[12:16]:
        case b"VP8 ":  # RFC 6386, 9.1: 14 bits each
            width, height = unpack_from("<HH", body, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":  # RFC 9649, 3.4: a byte of signature, then 14 bits each, less one
            (bits,) = unpack_from("<I", body, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X" if len(body) >= 30:  # noqa: PLR2004 - RFC 9649, 2.7: 24 bits each, less one
            return int.from_bytes(body[24:27], "little") + 1, int.from_bytes(body[27:30], "little") + 1
        case _:
            raise ValueError("a WebP begins with one of three chunks")
