"""Data URLs and base64, read strictly and within limits."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnstream.errors import MediaError
from turnstream.media import Media, decode_base64, decode_data_url, encode_data_url, is_data_url

LIMIT = 1000


def failure(url: str, limit: int = LIMIT) -> MediaError:
    """Return the error of reading a data URL."""
    with pytest.raises(MediaError) as failed:
        decode_data_url(url, limit)
    return failed.value


@given(st.binary(max_size=300))
def test_round_trip(body: bytes) -> None:
    """What is written as a data URL reads the same."""
    media = Media("image/png", body)
    assert decode_data_url(encode_data_url(media), LIMIT) == media


def test_large_media() -> None:
    """What is encoded in several pieces is one text of base64."""
    body = bytes(range(256)) * 8192
    assert encode_data_url(Media("a/b", body)) == f"data:a/b;base64,{b64encode(body).decode()}"


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        ("data:image/png;base64", "image/png"),
        ("DATA:Image/PNG;Base64", "image/png"),
        ("data:text/plain;charset=utf-8;base64", "text/plain"),
        ("data:;base64", "application/octet-stream"),
    ],
)
def test_headers(header: str, media_type: str) -> None:
    """The type is read in any case, with parameters or without, and may be left out."""
    assert is_data_url(header)
    assert decode_data_url(f"{header},QQ==", LIMIT) == Media(media_type, b"A")


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:,hello",
        "data:text/plain,hello",
        "data:image/png;base64",
        "data:base64,QQ==",
        "data:" + ";" * 9999,
    ],
)
def test_not_a_base64_data_url(url: str) -> None:
    """A data URL of another form says what form it must have."""
    assert failure(url).image_code == "invalid_image_url"


@pytest.mark.parametrize("data", ["QQ", "Q", "QQ=", "Q Q=", "QUJD\n", "Q-_=", "%51%51==", "é", "QQ==QQ==", "===="])
def test_not_base64(data: str) -> None:
    """Padding that is missing, another alphabet, line breaks and percent signs are refused."""
    assert failure(f"data:image/png;base64,{data}").image_code == "invalid_base64_image"


@given(st.integers(0, 40), st.integers(0, 40))
def test_limit(size: int, limit: int) -> None:
    """Just what has more bytes than the limit is refused."""
    data = b64encode(bytes(size)).decode()
    if size > limit:
        with pytest.raises(MediaError, match=f"larger than {limit} bytes"):
            decode_base64(data, limit)
    else:
        assert decode_base64(data, limit) == bytes(size)


def test_too_large_is_not_decoded() -> None:
    """What must be too large is refused before its base64 is looked at."""
    assert failure("data:image/png;base64," + "?" * 2000).image_code == "image_file_too_large"


@pytest.mark.parametrize("media_type", ["", "text", 'text/"x"', "a/b;base64,QQ==", "text/plain\r\n", "ä/b", "a" * 200])
def test_types_that_are_none(media_type: str) -> None:
    """A server's word for a type that could not stand in a data URL is not put into one."""
    assert encode_data_url(Media(media_type, b"A")) == "data:application/octet-stream;base64,QQ=="
