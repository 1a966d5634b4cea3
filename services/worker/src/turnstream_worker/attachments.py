"""Attachments of a turn's items: what is behind their URLs is fetched and verified, so that any model can take them."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from turnstream.attachment import NOUNS, Part, carried, is_attachment, url_of, verified
from turnstream.errors import FetchError, MediaError, TurnError
from turnstream.fetch import Fetcher
from turnstream.media import Media, encode_data_url
from turnstream.turns import Item

FETCHES_LIMIT = 4  # of one turn at a time
NAME_LIMIT = 255  # characters of a file's name

NONE = range(0)

# The field of an item in which its parts stand.
_FIELDS = {"message": "content", "function_call_output": "output", "custom_tool_call_output": "output"}
_FETCH_CODES = {"bad_url": "invalid_image_url", "too_large": "image_file_too_large"}
_PDF = b"%PDF-"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text has


@dataclass(frozen=True, slots=True)
class AttachmentLimits:
    """How much a turn's items may hold, its conversation's included."""

    count: int  # attachments
    each: int  # bytes of one
    together: int  # bytes of all


class Attachments:
    """Makes attachments fit for a chat completion, within limits."""

    def __init__(self, fetcher: Fetcher, limits: AttachmentLimits) -> None:
        self._fetcher = fetcher
        self._limits = limits

    async def resolve(self, items: list[Item], *, earlier: range = NONE) -> list[Item]:
        """Return the items with what their attachments are, in place of where it is; `items` itself if there is none.

        Images and videos become data URLs, files of text become text, other files data URLs. Raises TurnError.
        What stands in `earlier` of the items was fetched for turns before this one: it may be gone, and the model is
        told so.
        """
        places = [place for number, item in enumerate(items) for place in _places(item, earlier=number in earlier)]
        if not places:
            return items
        if len(places) > self._limits.count:
            raise _too_much(f"{len(places)} attachments; at most {self._limits.count} are taken")
        room = _Room(self._limits.together)
        # In threads, since base64 of many megabytes takes long, and other turns' events must not wait for it.
        inline = await asyncio.to_thread(self._carried, places, room)
        fetched = await self._fetch_all([place for place in places if place not in inline], room)
        return await asyncio.to_thread(_resolved, items, places, {**inline, **fetched})

    def _carried(self, places: list["_Place"], room: "_Room") -> dict["_Place", Media]:
        """Return what attachments carry themselves."""
        found = {}
        for place in places:
            with place.blamed():
                media = carried(place.part, self._limits.each)
            if media:
                room.take(len(media.body))
                found[place] = media
        return found

    async def _fetch_all(self, places: list["_Place"], room: "_Room") -> dict["_Place", Media | None]:
        """Return what is at the URLs of attachments, each URL fetched once; None for what is gone."""
        by_url: dict[str, list[_Place]] = {}
        for place in places:
            by_url.setdefault(url_of(place.part), []).append(place)
        slots = asyncio.Semaphore(FETCHES_LIMIT)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {url: group.create_task(self._fetch(url, named, room, slots)) for url, named in by_url.items()}
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__
        return {place: task.result() for url, task in tasks.items() for place in by_url[url]}

    async def _fetch(self, url: str, places: list["_Place"], room: "_Room", slots: asyncio.Semaphore) -> Media | None:
        async with slots:
            try:
                with places[-1].blamed():  # the latest, which is this turn's own if any is
                    media = await self._fetcher.fetch(url, limit=self._limits.each)
            except TurnError:
                if not places[-1].earlier:
                    raise
                return None
        room.take(len(media.body) * len(places))
        return media


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where an attachment stands."""

    item: str  # the item's id
    field: str
    index: int
    part: Part
    earlier: bool  # whether it is an earlier turn's

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Raise what is wrong with the attachment as the turn's error, which says where it stands."""
        try:
            yield
        except (FetchError, MediaError) as error:
            noun = NOUNS[self.part["type"]]
            message = f"The {noun} in {self.field}[{self.index}] of {self.item} cannot be used. {error.message}"
            if isinstance(error, FetchError):
                message += f" Correct the URL, or send the {noun} itself as a data URL."
            code = _image_code(error) if noun == "image" else "invalid_prompt"
            raise TurnError(message, code=code, status=400) from error


class _Room:
    """The bytes that a turn's attachments may still have."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size

    def take(self, size: int) -> None:
        """Take some; raise TurnError if there are not as many left."""
        self._left -= size
        if self._left < 0:
            raise _too_much(f"attachments of more than {self._size} bytes")


def _too_much(what: str) -> TurnError:
    advice = "Send fewer or smaller ones, or begin another conversation"
    return TurnError(f"The turn, with its conversation, has {what}. {advice}.", code="invalid_prompt", status=400)


def _image_code(error: FetchError | MediaError) -> str:
    if isinstance(error, MediaError):
        return error.image_code
    return _FETCH_CODES.get(error.reason, "failed_to_download_image")


def _places(item: Item, *, earlier: bool) -> Iterator[_Place]:
    """Yield the places of an item's attachments."""
    field = _field(item)
    if field:
        for index, part in enumerate(item[field]):
            if is_attachment(part):
                yield _Place(item["id"], field, index, part, earlier)


def _field(item: Item) -> str | None:
    """Return the field in which an item has parts, if it has any."""
    field = _FIELDS.get(item["type"])
    return field if field and isinstance(item[field], list) else None


def _resolved(items: list[Item], places: list[_Place], media: dict[_Place, Media | None]) -> list[Item]:
    """Return the items with what their attachments have become."""
    resolved = iter([_resolved_part(place, media[place]) for place in places])
    return [_with_attachments(item, resolved) for item in items]


def _with_attachments(item: Item, resolved: Iterator[Part]) -> Item:
    """Return an item with the next ones in the places of its attachments."""
    field = _field(item)
    if field is None:
        return item
    return {**item, field: [next(resolved) if is_attachment(part) else part for part in item[field]]}


def _resolved_part(place: _Place, found: Media | None) -> Part:
    part = place.part
    if found is None:
        return {"type": "input_text", "text": f"\n[{NOUNS[part['type']]} that can no longer be fetched]\n"}
    with place.blamed():
        media = verified(part, found)
    match part["type"]:
        case "input_image":
            return {**part, "image_url": encode_data_url(media)}
        case "input_video":
            return {**part, "video_url": encode_data_url(media)}
        case _:
            return _resolved_file(_file_name(part), media)


def _resolved_file(name: str, media: Media) -> Part:
    """Return a file as a model takes it: providers take PDFs as files, if any, and text only as text."""
    text = _text(media.body)
    if text is not None:
        return {"type": "input_text", "text": f'\n<file name="{name}">\n{text}\n</file>\n'}
    media_type = "application/pdf" if media.body.startswith(_PDF) else media.media_type
    data = encode_data_url(Media(media_type, media.body))
    return {"type": "input_file", "filename": name, "file_data": data}


def _text(body: bytes) -> str | None:
    """Return a file as text if it is any, whatever type it is said to have: few know the type of source code."""
    if body.startswith(_PDF) or _CONTROL.search(body):
        return None
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _file_name(part: Part) -> str:
    """Return a file's name as it was given, or else as its URL ends; it fits between quotes."""
    path = (part.get("file_url") or "").partition("?")[0].partition("#")[0]
    name = part.get("filename") or unquote(path.rpartition("/")[2])
    return (
        "".join(character for character in name if character.isprintable() and character != '"')[:NAME_LIMIT] or "file"
    )
