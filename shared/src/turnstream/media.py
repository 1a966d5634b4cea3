"""Media: bytes with their type, and the data URLs (RFC 2397) that carry them in JSON."""

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from turnstream.errors import MediaError

UNKNOWN_TYPE = "application/octet-stream"

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,127}")
_HEADER_LIMIT = 512  # characters before a data URL's comma
_PIECE = 3 << 18  # bytes encoded at a time, a multiple of 3: base64 holds the interpreter's lock for 1 ms a MiB or more


@dataclass(frozen=True, slots=True)
class Media:
    """Something's bytes, and what type they are said to have."""

    media_type: str  # in lower case and without parameters; not trusted
    body: bytes


def is_data_url(text: str) -> bool:
    """Tell whether a text means to be a data URL."""
    return text[:5].lower() == "data:"


def decode_data_url(url: str, limit: int) -> Media:
    """Return what a data URL carries, which may have `limit` bytes. Raises MediaError; it must be base64."""
    comma = url.find(",", 0, _HEADER_LIMIT)
    media_type, *parameters = url[5:comma].lower().split(";")
    if comma < 0 or not parameters or parameters[-1].strip() != "base64":
        raise MediaError("It must be a data URL of the form data:<type>;base64,<data>.", image_code="invalid_image_url")
    return Media(media_type.strip() or UNKNOWN_TYPE, decode_base64(url[comma + 1 :], limit))


def decode_base64(text: str, limit: int) -> bytes:
    """Return the bytes of a base64 text, `limit` of them at most. Raises MediaError."""
    if len(text) // 4 * 3 - 2 > limit:
        raise too_large(limit)
    try:
        body = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        message = "Its data is not valid base64: the standard alphabet with padding, and no line breaks."
        raise MediaError(message, image_code="invalid_base64_image") from error
    if len(body) > limit:
        raise too_large(limit)
    return body


def encode_data_url(media: Media) -> str:
    """Return media as a data URL; a type that is none is called unknown."""
    media_type = media.media_type if _MEDIA_TYPE.fullmatch(media.media_type) else UNKNOWN_TYPE
    pieces = (media.body[start : start + _PIECE] for start in range(0, len(media.body), _PIECE))
    return f"data:{media_type};base64,{b''.join(map(b64encode, pieces)).decode()}"


def too_large(limit: int) -> MediaError:
    """Return the error of media with more than `limit` bytes."""
    return MediaError(f"It is larger than {limit} bytes.", image_code="image_file_too_large")
