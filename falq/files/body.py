"""The bytes of an artifact, decoded and counted: never more than allowed, never fewer than sent."""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from urllib.parse import unquote_to_bytes

import httpx

from falq.errors import DownloadError
from falq.files.artifacts import shown_url

#: Bytes that one step of decoding gives at most: a bomb grows no further than this unseen.
_PIECE_BYTES = 256 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_WHITE = re.compile(r"\s")


class BodyGauge:
    """Counts the bytes of one file against its limit.

    Args:
        url: For messages.
        max_bytes: The limit; the file that has exactly so many passes.
    """

    def __init__(self, url: str, max_bytes: int) -> None:
        self._url = url
        self._max_bytes = max_bytes
        self.bytes = 0

    def expect(self, size: int | None) -> None:
        """Refuse an announced size before anything is read.

        Raises:
            DownloadError: Too large; not repeatable.
        """
        if size is not None and size > self._max_bytes:
            raise self._too_large(f"it has {size:,} bytes")

    def count(self, piece: bytes) -> None:
        """Count some more bytes.

        Raises:
            DownloadError: Too large; not repeatable.
        """
        self.bytes += len(piece)
        if self.bytes > self._max_bytes:
            raise self._too_large("it goes on")

    def _too_large(self, what: str) -> DownloadError:
        limit = f"{self._max_bytes:,} bytes ({self._max_bytes / 1048576:g} MiB)"
        message = f"{shown_url(self._url)} is larger than the limit of {limit}: {what}"
        hint = "the result JSON holds the URL; fetch it with a tool of your own"
        return DownloadError(message, hint, retryable=False)


async def decoded(response: httpx.Response, url: str) -> AsyncIterator[bytes]:
    """Read a body in pieces of bounded size, undoing at most one gzip or deflate.

    Raises:
        DownloadError: An encoding that was never asked for, or broken data.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for piece in _raw(response):
            yield piece
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        message = f"{shown_url(url)} came with content-encoding {encoding[:60]!r}, unasked for"
        raise DownloadError(message, retryable=False)
    inflating = _Inflating(url)
    async for raw in _raw(response):
        for piece in inflating.feed(raw):
            yield piece
    inflating.finish()


def _raw(response: httpx.Response) -> httpx.AsyncByteStream:
    """Give the body as it comes, also of a response that a test made with its content."""
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("an asynchronous transport gives asynchronous bodies")
    return response.stream


class _Inflating:
    def __init__(self, url: str) -> None:
        self._url = url
        self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)

    def feed(self, raw: bytes) -> Iterator[bytes]:
        try:
            while raw:
                if self._inflater.eof:
                    self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
                yield self._inflater.decompress(raw, _PIECE_BYTES)
                raw = self._inflater.unconsumed_tail or self._inflater.unused_data
        except zlib.error as err:
            raise DownloadError(f"{shown_url(self._url)} is broken: {err}") from err

    def finish(self) -> None:
        if not self._inflater.eof:
            raise DownloadError(f"{shown_url(self._url)} was cut short within its compression")


def data_type(url: str) -> str:
    """Give the content type that a ``data:`` URI announces.

    >>> data_type("data:image/png;base64,AA=="), data_type("data:,hello")
    ('image/png', 'text/plain')
    """
    return url[5:].partition(",")[0].partition(";")[0].strip().lower() or "text/plain"


def data_pieces(url: str) -> Iterator[bytes]:
    """Decode a ``data:`` URI piece by piece.

    >>> b"".join(data_pieces("data:text/plain;base64,aGVsbG8="))
    b'hello'

    Raises:
        DownloadError: It is none, or its base64 is broken; not repeatable.
    """
    head, comma, body = url.partition(",")
    if not comma:
        raise DownloadError(f"{head[:60]!r} is no data: URI: it has no comma", retryable=False)
    if not head.lower().endswith(";base64"):
        yield unquote_to_bytes(body)
        return
    body = _WHITE.sub("", body) if _WHITE.search(body) else body
    step = _PIECE_BYTES // 3 * 4
    try:
        for start in range(0, len(body), step):
            yield binascii.a2b_base64(body[start : start + step])
    except (binascii.Error, ValueError) as err:
        message = f"a data: URI of {data_type(url)[:60]} is broken: {err}"
        raise DownloadError(message, retryable=False) from err
