"""An attachment: a part of a message, or of a function's output, that is an image, a file or a video.

Pure functions: by them the gateway refuses what is of no use before it accepts a turn, and the worker what it has
fetched.
"""

import re
from typing import Any

from turnstream.errors import MediaError
from turnstream.images import verified_image
from turnstream.media import UNKNOWN_TYPE, Media, decode_base64, decode_data_url, is_data_url

type Part = dict[str, Any]

NOUNS = {"input_image": "image", "input_file": "file", "input_video": "video"}

_WEB_URL = re.compile(r"https?://[^/]", re.IGNORECASE)
_QUICKTIME_BRAND = b"qt  "


def is_attachment(part: Part) -> bool:
    """Tell whether a part of a message or of a function's output is an attachment."""
    return part["type"] in NOUNS


def check_attachment(part: Part, limit: int) -> None:
    """Raise MediaError if an attachment is of no use, as far as that can be told without fetching anything.

    What it carries itself may have `limit` bytes.
    """
    media = carried(part, limit)
    if media:
        verified(part, media)


def carried(part: Part, limit: int) -> Media | None:
    """Return what an attachment carries itself, `limit` bytes at most, or None if it names a URL. Raises MediaError."""
    data = part.get("file_data")
    if data and not is_data_url(data):
        return Media(UNKNOWN_TYPE, decode_base64(data, limit))
    source = data or url_of(part)
    if is_data_url(source):
        return decode_data_url(source, limit)
    if not _WEB_URL.match(source):
        raise MediaError("Its URL must begin with https://, http:// or data:.", image_code="invalid_image_url")
    return None


def url_of(part: Part) -> str:
    """Return the URL that an attachment names. Raises MediaError if it names none."""
    url = part.get("image_url") or part.get("file_url") or part.get("video_url")
    if not isinstance(url, str):
        raise MediaError("It has neither data nor a URL.", image_code="invalid_image_url")
    return url


def verified(part: Part, media: Media) -> Media:
    """Return an attachment's media, the type being what its bytes say where it matters. Raises MediaError."""
    if not media.body:
        raise MediaError("It is empty.", image_code="empty_image_file")
    match part["type"]:
        case "input_image":
            return verified_image(media)
        case "input_video":
            return _verified_video(media)
        case _:
            return media


def _verified_video(media: Media) -> Media:
    """Return a video with its type: by its first bytes if they are well known, else as it is said to be."""
    if media.body[4:8] == b"ftyp":
        quicktime = media.body[8:12] == _QUICKTIME_BRAND
        return Media("video/quicktime" if quicktime else "video/mp4", media.body)
    if media.body.startswith(b"\x1aE\xdf\xa3"):
        return Media("video/webm", media.body)
    if media.media_type.startswith("video/"):
        return media
    raise MediaError("It is not a video: its type must be video/mp4 or another of video.", image_code="invalid_image")
