"""Fetching URLs from servers on loopback: what is refused, what is bounded, and what is sent along."""

import asyncio
import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from support.site import HANG, Page, Site, head, page, redirect, serve_site

from turnstream.errors import FetchError
from turnstream.fetch import REDIRECTS_LIMIT, Fetcher
from turnstream.guard import URL_LIMIT, Lookup, look_up
from turnstream.media import Media
from turnstream.settings import FetchSettings

LIMIT = 1 << 20  # bytes
INSIDE = "127.0.0.2"  # an address that is not allowed

type NewFetcher = Callable[..., Fetcher]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A site that may be fetched from."""
    async with serve_site() as serving:
        yield serving


@pytest.fixture
async def inside(site: Site) -> AsyncIterator[Site]:
    """A site on the same port of another address, which may not be fetched from."""
    async with serve_site(INSIDE, site.port) as serving:
        serving.pages["/"] = page(b"secret")
        yield serving


@pytest.fixture
async def new_fetcher() -> AsyncIterator[NewFetcher]:
    """Make fetchers for 127.0.0.1, and close them."""
    made: list[Fetcher] = []

    def new(allow: list[str] | None = None, lookup: Lookup = look_up, timeout: float = 10) -> Fetcher:
        allowed = ["127.0.0.1"] if allow is None else allow
        settings = FetchSettings.model_validate({"fetch_allow": allowed, "fetch_timeout": timeout})
        made.append(Fetcher(settings, lookup))
        return made[-1]

    yield new
    for fetcher in made:
        fetcher.close()


@pytest.fixture
def fetcher(new_fetcher: NewFetcher) -> Fetcher:
    """A fetcher that may reach `site`."""
    return new_fetcher()


async def failure(fetcher: Fetcher, url: str, limit: int = LIMIT) -> FetchError:
    """Return the error that a fetch ends with."""
    with pytest.raises(FetchError) as failed:
        await fetcher.fetch(url, limit=limit)
    return failed.value


async def reason(fetcher: Fetcher, url: str, limit: int = LIMIT) -> str:
    """Return why a fetch fails."""
    return (await failure(fetcher, url, limit)).reason


async def test_page(site: Site, fetcher: Fetcher) -> None:
    """A page comes with its type, without the type's parameters, and is asked for without compression."""
    site.pages["/a"] = page(b"hello", "Text/HTML; charset=utf-8")
    assert await fetcher.fetch(site.url("/a?b=c#d"), limit=5) == Media("text/html", b"hello")
    (path, headers) = site.asked[0]
    assert path == "/a?b=c"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("line", [[], ["Content-Type: "], ["Content-Type: nonsense"]])
async def test_page_without_a_type(site: Site, fetcher: Fetcher, line: list[str]) -> None:
    """A page that does not say what it is has some type or other, and is fetched."""
    site.pages["/"] = [head("HTTP/1.1 200 OK", *line), b"hello"]
    assert (await fetcher.fetch(site.url(), limit=LIMIT)).body == b"hello"


async def test_ipv6(new_fetcher: NewFetcher) -> None:
    """A page is fetched over IPv6 too, and refused there by the same rules."""
    async with serve_site("::1") as site:
        site.pages["/"] = page(b"hello")
        assert (await new_fetcher(["::1"]).fetch(site.url(), limit=LIMIT)).body == b"hello"
        assert await reason(new_fetcher(), site.url()) == "refused"
        assert len(site.asked) == 1


async def test_host_that_is_allowed_by_name(site: Site, new_fetcher: NewFetcher) -> None:
    """A host that the operator names may be private; the server is asked by that name, and no other name is allowed."""
    site.pages["/"] = page(b"hello")
    fetcher = new_fetcher(["Files.Corp"], lambda _: ["127.0.0.1"])
    assert (await fetcher.fetch(site.url(host="FILES.corp"), limit=LIMIT)).body == b"hello"
    assert site.asked[0][1]["host"] == f"files.corp:{site.port}"
    assert await reason(fetcher, site.url(host="other.files.corp")) == "refused"
    assert await reason(fetcher, site.url()) == "refused"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "127.0.0.2",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::1%25lo]",
        "[64:ff9b::7f00:1]",
        "\uff11\uff12\uff17.0.0.1",  # digits that are folded into those of 127
        "169.254.169.254",
    ],
)
async def test_ways_to_write_a_private_address(site: Site, new_fetcher: NewFetcher, host: str) -> None:
    """However a private address is written, nobody there is asked."""
    assert await reason(new_fetcher([]), site.url(host=host)) in {"refused", "bad_url"}
    assert site.asked == []


async def test_one_private_address_of_many(site: Site, new_fetcher: NewFetcher) -> None:
    """A name with one private address among others is refused altogether."""
    fetcher = new_fetcher(lookup=lambda _: ["127.0.0.1", "10.0.0.1"])
    assert await reason(fetcher, site.url(host="mixed.test")) == "refused"
    assert site.asked == []


async def test_name_that_changes_its_address(site: Site, inside: Site, new_fetcher: NewFetcher) -> None:
    """The connection goes to the address that was checked, though the name has another one a moment later."""
    site.pages["/"] = page(b"hello")
    answers = iter([["127.0.0.1"], [INSIDE]])
    fetcher = new_fetcher(lookup=lambda _: next(answers))
    assert (await fetcher.fetch(site.url(host="rebinding.test"), limit=LIMIT)).body == b"hello"
    assert await reason(fetcher, site.url(host="rebinding.test")) == "refused"
    assert inside.asked == []


async def test_redirect_to_a_name_that_changes(site: Site, inside: Site, new_fetcher: NewFetcher) -> None:
    """A redirect is looked up and checked anew, though it leads to the same name."""
    site.pages["/"] = redirect("/")
    answers = iter([["127.0.0.1"], [INSIDE]])
    fetcher = new_fetcher(lookup=lambda _: next(answers))
    assert await reason(fetcher, site.url(host="rebinding.test")) == "refused"
    assert inside.asked == []


async def test_redirect_inside(site: Site, inside: Site, fetcher: Fetcher) -> None:
    """A redirect to a private address is not followed."""
    site.pages["/"] = redirect(inside.url())
    assert await reason(fetcher, site.url()) == "refused"
    assert inside.asked == []


@pytest.mark.parametrize(
    "to",
    ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:password@127.0.0.1/", "http://[", "data:,x"],
)
async def test_redirect_to_what_is_no_web_url(site: Site, fetcher: Fetcher, to: str) -> None:
    """A redirect leads only to where a client's own URL might."""
    site.pages["/"] = redirect(to)
    assert await reason(fetcher, site.url()) == "bad_url"


async def test_redirects(site: Site, fetcher: Fetcher) -> None:
    """Redirects are followed, to relative places too, and nothing that one says is sent to the next."""
    site.pages["/a"] = redirect("b?c#d", "Set-Cookie: key=value; Path=/")
    site.pages["/b"] = redirect(site.url("/c"), "WWW-Authenticate: Basic")
    site.pages["/c"] = page(b"hello")
    assert (await fetcher.fetch(site.url("/a"), limit=LIMIT)).body == b"hello"
    assert [path for path, _ in site.asked] == ["/a", "/b?c", "/c"]
    assert all(not headers.keys() & {"cookie", "authorization", "referer"} for _, headers in site.asked)


async def test_endless_redirects(site: Site, fetcher: Fetcher) -> None:
    """A page that leads to itself is given up."""
    site.pages["/"] = redirect("/")
    assert await reason(fetcher, site.url()) == "too_many_redirects"
    assert len(site.asked) == REDIRECTS_LIMIT + 1


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 407, 500, 503])
async def test_other_statuses(site: Site, fetcher: Fetcher, status: int) -> None:
    """A page that is not there, or only for others, says with which status."""
    site.pages["/"] = page(status=status)
    failed = await failure(fetcher, site.url())
    assert failed.reason == "bad_status"
    assert str(status) in failed.message


async def test_redirect_to_nowhere(site: Site, fetcher: Fetcher) -> None:
    """A redirect that does not say where to is a status like another."""
    site.pages["/"] = page(status=302)
    assert await reason(fetcher, site.url()) == "bad_status"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "http:///x",
        "http://[::1",
        "http://example.com:99999/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://:@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com/" + "x" * URL_LIMIT,
        "http://\udcff/",
    ],
)
async def test_what_is_no_web_url(fetcher: Fetcher, url: str) -> None:
    """What is no URL of the web, carries a password, or is overlong is refused as it is."""
    failed = await failure(fetcher, url)
    assert failed.reason == "bad_url"
    assert "password@" not in failed.message


async def test_differences_tell_nothing(
    site: Site, inside: Site, new_fetcher: NewFetcher, unused_tcp_port: int
) -> None:
    """A private address where somebody listens, one where nobody does, and a name that is not known look the same."""

    def lookup(host: str) -> list[str]:
        if host == "unknown.test":
            raise OSError("no such host")
        return [INSIDE]

    fetcher = new_fetcher(lookup=lookup)
    site.pages["/garbage"] = [b"\0\1\2\3\r\n\r\n"]
    failures = [
        await failure(fetcher, url)
        for url in (
            inside.url(),
            site.url(host="inside.test"),
            f"http://{INSIDE}:{unused_tcp_port}/",
            "http://unknown.test/",
            f"http://127.0.0.1:{unused_tcp_port}/",
            site.url("/garbage"),
        )
    ]
    assert len({failed.message for failed in failures}) == 1
    assert [failed.reason for failed in failures] == ["refused"] * 3 + ["unreachable"] * 3
    assert inside.asked == []


@pytest.mark.parametrize("host", ["a..test", "a" * 64 + ".test", "a b"])
async def test_names_that_no_host_has(fetcher: Fetcher, host: str) -> None:
    """A name that cannot be looked up at all is as good as one that is not known."""
    assert await reason(fetcher, f"http://{host}/") == "unreachable"


async def test_too_large(site: Site, fetcher: Fetcher) -> None:
    """A body may be as large as the limit, and not larger."""
    site.pages["/"] = page(bytes(1000))
    assert len((await fetcher.fetch(site.url(), limit=1000)).body) == 1000
    assert await reason(fetcher, site.url(), 999) == "too_large"


async def test_endless_body(site: Site, fetcher: Fetcher) -> None:
    """A body without an end is given up at the limit."""
    site.pages["/"] = itertools.chain([head("HTTP/1.1 200 OK")], itertools.repeat(b"x" * 65536))
    assert await reason(fetcher, site.url()) == "too_large"


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_body(site: Site, fetcher: Fetcher, coding: str, compress: Callable[[bytes], bytes]) -> None:
    """A body that comes compressed though it was not asked for is read, and its size is what it has unpacked."""
    site.pages["/"] = page(compress(bytes(5000)), more=[f"Content-Encoding: {coding}"])
    assert (await fetcher.fetch(site.url(), limit=5000)).body == bytes(5000)
    assert await reason(fetcher, site.url(), 4999) == "too_large"


async def test_compression_bomb(site: Site, fetcher: Fetcher) -> None:
    """A small body that unpacks to a huge one is given up at the limit, and never unpacked much further."""
    bomb = gzip.compress(bytes(256 << 20), 1)
    assert len(bomb) < 2 << 20
    site.pages["/"] = page(bomb, more=["Content-Encoding: gzip"])
    tracemalloc.start()
    try:
        assert await reason(fetcher, site.url()) == "too_large"
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 8 << 20


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_broken_compression(site: Site, fetcher: Fetcher, coding: str) -> None:
    """A body that cannot be unpacked is as good as none."""
    site.pages["/"] = page(b"not compressed", more=[f"Content-Encoding: {coding}"])
    assert await reason(fetcher, site.url()) == "unreachable"


@pytest.mark.parametrize(
    "lines",
    [["X-Large: " + "x" * 20_000], [f"X-{number}: x" for number in range(1000)], ["Content-Length: -1"]],
)
async def test_unreasonable_heads(site: Site, fetcher: Fetcher, lines: list[str]) -> None:
    """A head that is too large or makes no sense ends the fetch."""
    site.pages["/"] = [head("HTTP/1.1 200 OK", *lines), b"hello"]
    assert await reason(fetcher, site.url()) == "unreachable"


async def test_endless_head(site: Site, fetcher: Fetcher) -> None:
    """A head without an end is given up."""
    site.pages["/"] = itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"x: y\r\n" * 100))
    assert await reason(fetcher, site.url()) == "unreachable"


async def test_body_that_breaks_off(site: Site, fetcher: Fetcher) -> None:
    """A body that is shorter than its server said is not taken for whole."""
    site.pages["/"] = [head("HTTP/1.1 200 OK", "Content-Length: 10"), b"hello"]
    assert await reason(fetcher, site.url()) == "unreachable"


@pytest.mark.parametrize(
    "silent", [[HANG], [head("HTTP/1.1 200 OK")[:10], HANG], [head("HTTP/1.1 200 OK", "Content-Length: 9"), b"x", HANG]]
)
async def test_silence(site: Site, new_fetcher: NewFetcher, silent: Page) -> None:
    """A server that falls silent, before its answer or in it, is given up when the time is over."""
    site.pages["/"] = silent
    failed = await failure(new_fetcher(timeout=0.1), site.url())
    assert (failed.reason, failed.message) == ("timeout", "Its URL did not deliver it within 0.1 seconds.")


async def test_slow_body(site: Site, new_fetcher: NewFetcher) -> None:
    """A server that never falls silent is given up too: the time is that of the whole."""
    site.pages["/"] = itertools.chain([head("HTTP/1.1 200 OK")], itertools.repeat(b"drop" * 1000))
    assert await reason(new_fetcher(timeout=0.1), site.url(), 1 << 40) == "timeout"


async def test_slow_look_up(new_fetcher: NewFetcher) -> None:
    """A name server that does not answer is given up when the time is over."""
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def lookup(_: str) -> list[str]:
        asyncio.run_coroutine_threadsafe(answered.wait(), loop).result()
        return []

    assert await reason(new_fetcher(lookup=lookup, timeout=0.1), "http://slow.test/") == "timeout"
    answered.set()


async def test_proxies_are_not_used(site: Site, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is passed by: it would look names up itself."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    site.pages["/"] = page(b"hello")
    assert (await fetcher.fetch(site.url(), limit=LIMIT)).body == b"hello"


async def test_logs(site: Site, fetcher: Fetcher, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The log says which host was not fetched from and why, and nothing that may be a secret."""
    await failure(fetcher, f"http://{INSIDE}:{site.port}/secret-path?secret=query")
    logged = capfdbinary.readouterr().out
    assert b'"refused"' in logged
    assert INSIDE.encode() in logged
    assert b"secret" not in logged
