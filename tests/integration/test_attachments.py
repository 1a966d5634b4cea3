"""Attachments by URL, from a server on loopback."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.pictures import gif, png
from support.site import HANG, Site, head, page, redirect, serve_site

from turnstream.errors import FetchError, TurnError
from turnstream.fetch import Fetcher
from turnstream.settings import FetchSettings
from turnstream.turns import Item
from turnstream_worker.attachments import FETCHES_LIMIT, AttachmentLimits, Attachments


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A site that may be fetched from."""
    async with serve_site() as serving:
        yield serving


@pytest.fixture
def attachments(site: Site) -> Iterator[Attachments]:
    """Attachments of up to 1000 bytes, and 8 of up to 1500 bytes together."""
    fetcher = Fetcher(FetchSettings.model_validate({"fetch_allow": [site.host]}))
    yield Attachments(fetcher, AttachmentLimits(count=8, each=1000, together=1500))
    fetcher.close()


def image(url: str) -> dict[str, Any]:
    """Make an image's part."""
    return {"type": "input_image", "image_url": url, "detail": "auto"}


def file(url: str, **more: str) -> dict[str, Any]:
    """Make a file's part."""
    return {"type": "input_file", "file_url": url, **more}


def message(*parts: dict[str, Any]) -> Item:
    """Make a message's item."""
    return {"type": "message", "id": "msg_1", "role": "user", "status": "completed", "content": list(parts)}


async def resolved(attachments: Attachments, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the parts of a message become."""
    (item,) = await attachments.resolve([message(*parts)])
    content: list[dict[str, Any]] = item["content"]
    return content


async def failure(attachments: Attachments, *parts: dict[str, Any]) -> TurnError:
    """Return the error that the parts of a message end with."""
    with pytest.raises(TurnError) as failed:
        await resolved(attachments, *parts)
    return failed.value


async def test_what_is_fetched(site: Site, attachments: Attachments) -> None:
    """Images, files and videos by URL become what they are, whatever their server calls them."""
    site.pages["/cat"] = page(gif(), "image/png")
    site.pages["/%C3%BC%20notes.md"] = page(b"# Notes", "application/octet-stream")
    site.pages["/a.pdf"] = page(b"%PDF-1.7", "binary/octet-stream")
    site.pages["/a.mp4"] = page(b"\0\0\0\x18ftypisom")
    parts = await resolved(
        attachments,
        image(site.url("/cat")),
        file(site.url("/%C3%BC%20notes.md?key=secret")),
        file(site.url("/a.pdf"), filename="b.pdf"),
        {"type": "input_video", "video_url": site.url("/a.mp4")},
    )
    assert parts == [
        image(data_url("image/gif", gif())),
        {"type": "input_text", "text": '\n<file name="ü notes.md">\n# Notes\n</file>\n'},
        {"type": "input_file", "filename": "b.pdf", "file_data": data_url("application/pdf", b"%PDF-1.7")},
        {"type": "input_video", "video_url": data_url("video/mp4", b"\0\0\0\x18ftypisom")},
    ]


def data_url(media_type: str, body: bytes) -> str:
    """Make a data URL."""
    return f"data:{media_type};base64,{b64encode(body).decode()}"


async def test_what_has_gone(site: Site, attachments: Attachments) -> None:
    """An earlier turn's image that is gone does not end the conversation: the model is told; this turn's own does."""
    gone = message(image(site.url("/gone")))
    site.pages["/here"] = page(gif(), "image/gif")
    first, second = await attachments.resolve([gone, message(image(site.url("/here")))], earlier=range(1))
    assert first["content"] == [{"type": "input_text", "text": "\n[image that can no longer be fetched]\n"}]
    assert second["content"] == [image(data_url("image/gif", gif()))]
    with pytest.raises(TurnError):
        await attachments.resolve([gone, gone], earlier=range(1))


async def test_same_url(site: Site, attachments: Attachments) -> None:
    """A URL that a turn names several times is fetched once, also where it stands for different things."""
    site.pages["/cat"] = page(png(), "image/png")
    cat = site.url("/cat")
    items = [message(image(cat), file(cat, filename="cat")), message(image(cat))]
    first, second = await attachments.resolve(items)
    assert [part["type"] for part in first["content"]] == ["input_image", "input_file"]
    assert second["content"] == [image(data_url("image/png", png()))]
    assert len(site.asked) == 1


async def test_several_at_once(site: Site, attachments: Attachments) -> None:
    """URLs are fetched several at a time, and not all at once."""
    site.gate = asyncio.Barrier(FETCHES_LIMIT)  # nobody is answered before so many have asked
    site.pages = {f"/{number}": page(b"hello") for number in range(2 * FETCHES_LIMIT)}
    await resolved(attachments, *(file(site.url(path)) for path in site.pages))
    assert site.most_at_once == FETCHES_LIMIT


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/missing", "failed_to_download_image", "answered with status 404"),
        ("/inside", "failed_to_download_image", "could not be reached"),
        ("/large", "image_file_too_large", "larger than 1000 bytes"),
        ("/file", "invalid_image_url", "must be one of http or https"),
        ("/text", "invalid_image_format", "not an image"),
        ("/tiff", "unsupported_image_media_type", "not an image of a type that is read"),
        ("/empty", "empty_image_file", "empty"),
        ("/broken", "image_parse_error", "size cannot be read"),
        ("/huge", "image_too_large", "100000 x 100000 pixels"),
    ],
)
async def test_bad_images(site: Site, attachments: Attachments, path: str, code: str, message: str) -> None:
    """An image that cannot be fetched or used fails the turn with OpenAI's code, and says which one and why."""
    site.pages = {
        "/inside": redirect("http://127.0.0.2/"),
        "/large": page(bytes(1001), "image/png"),
        "/file": redirect("file:///etc/passwd"),
        "/text": page(b"<html>", "text/html"),
        "/tiff": page(b"II*\0", "image/tiff"),
        "/empty": page(b"", "image/png"),
        "/broken": page(png()[:18], "image/png"),
        "/huge": page(png(100_000, 100_000), "image/png"),
    }
    failed = await failure(attachments, {"type": "input_text", "text": "?"}, image(site.url(path)))
    assert failed.code == code
    assert failed.message.startswith("The image in content[1] of msg_1 cannot be used. ")
    assert message in failed.message


async def test_bad_file(site: Site, attachments: Attachments) -> None:
    """A file that cannot be fetched says what to do; OpenAI has no code for it but that of a bad prompt."""
    failed = await failure(attachments, file(site.url("/missing")))
    assert failed.code == "invalid_prompt"
    assert failed.message == (
        "The file in content[0] of msg_1 cannot be used. Its URL answered with status 404. "
        "Correct the URL, or send the file itself as a data URL."
    )
    assert isinstance(failed.__cause__, FetchError)


async def test_failure_ends_the_others(site: Site, attachments: Attachments) -> None:
    """A turn that has failed does not wait for what is still on its way."""
    site.pages["/hanging"] = [head("HTTP/1.1 200 OK"), HANG]
    async with asyncio.timeout(5):
        failed = await failure(attachments, file(site.url("/hanging")), file(site.url("/missing")))
    assert "content[1]" in failed.message


async def test_bytes_together(site: Site, attachments: Attachments) -> None:
    """What is fetched counts together with what is sent, and as often as a model gets it."""
    site.pages["/700"] = page(b"a" * 700)
    site.pages["/900"] = page(b"a" * 900)
    await resolved(attachments, file(site.url("/700")), file(site.url("/700")))
    sent = {"type": "input_file", "file_data": data_url("", b"a" * 101)}
    for parts in (
        [file(site.url("/700")), file(site.url("/900"))],
        [file(site.url("/900")), file(site.url("/900"))],
        [file(site.url("/700")), file(site.url("/700")), sent],
    ):
        assert "attachments of more than 1500 bytes" in (await failure(attachments, *parts)).message
