"""The bytes of an artifact, decoded and counted: never more than allowed, never fewer than sent."""

from __future__ import annotations

import asyncio
import binascii
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from urllib.parse import unquote, unquote_to_bytes

import httpx

from falq.errors import DownloadError
from falq.files.artifacts import shown_url

#: Bytes that one step of decoding gives at most: a bomb grows no further than this unseen.
_PIECE_BYTES = 256 * 1024
#: Compressed bytes that one step is fed: what is left of them is copied at each member's end.
_FED_BYTES = 16 * 1024
#: Members of one gzip body; a block-wise one (BGZF) of 100 MiB has some 1,600.
_MAX_MEMBERS = 10_000
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_WHITE = re.compile(r"\s")
_BASE64URL = str.maketrans("-_", "+/")


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


async def decoded(response: httpx.Response, url: str, max_bytes: int) -> AsyncIterator[bytes]:
    """Read a body in pieces of bounded size, undoing at most one gzip or deflate.

    Whoever reads counts what it gives; the compressed bytes have the same limit, for they may
    amount to nothing.

    Raises:
        DownloadError: An encoding that was never asked for, broken data, or too much of it.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for piece in _raw(response):
            yield piece
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        message = f"{shown_url(url)} came with content-encoding {encoding[:60]!r}, unasked for"
        raise DownloadError(message, retryable=False)
    inflating = _Inflating(url, max_bytes)
    async for raw in _raw(response):
        for start in range(0, len(raw), _FED_BYTES):
            for piece in inflating.feed(raw[start : start + _FED_BYTES]):
                yield piece
            await asyncio.sleep(0)
    inflating.finish()


def _raw(response: httpx.Response) -> httpx.AsyncByteStream:
    """Give the body as it comes, also of a response that a test made with its content."""
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("an asynchronous transport gives asynchronous bodies")
    return response.stream


class _Inflating:
    def __init__(self, url: str, max_bytes: int) -> None:
        self._url = url
        # What cannot be compressed grows by less than a hundredth.
        self._left = max_bytes + max_bytes // 100 + _FED_BYTES
        self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._members = 1

    def feed(self, raw: bytes) -> Iterator[bytes]:
        self._left -= len(raw)
        if self._left < 0:
            raise self._too_much("is larger than the limit though it is compressed")
        try:
            while raw:
                if self._inflater.eof:
                    self._begin_member()
                piece = self._inflater.decompress(raw, _PIECE_BYTES)
                if piece:
                    yield piece
                raw = self._inflater.unconsumed_tail or self._inflater.unused_data
        except zlib.error as err:
            raise DownloadError(f"{shown_url(self._url)} is broken: {err}") from err

    def _begin_member(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise self._too_much("consists of too many compressed pieces")

    def _too_much(self, reason: str) -> DownloadError:
        return DownloadError(f"{shown_url(self._url)} {reason}", retryable=False)

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
    """Decode a ``data:`` URI piece by piece; both alphabets of base64 are understood.

    A character that belongs to none is an error: left out, it would shift all that follows.

    >>> b"".join(data_pieces("data:text/plain;base64,aGVsbG8%3D"))
    b'hello'

    Raises:
        DownloadError: It is none, or its base64 is broken; not repeatable.
    """
    head, comma, body = url.partition(",")
    if not comma:
        raise DownloadError(f"{head[:60]!r} is no data: URI: it has no comma", retryable=False)
    if not _WHITE.sub("", head).lower().endswith(";base64"):
        yield unquote_to_bytes(body)
        return
    body = _plain_base64(body)
    step = _PIECE_BYTES // 3 * 4
    try:
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            if piece.endswith("=") and start + step < len(body):
                raise ValueError("padding within the data")
            yield binascii.a2b_base64(piece, strict_mode=True)
    except (binascii.Error, ValueError) as err:
        message = f"a data: URI of {data_type(url)[:60]} is broken: {err}"
        raise DownloadError(message, retryable=False) from err


def _plain_base64(body: str) -> str:
    """Undo what URIs do to base64: percent signs, the alphabet for URLs, missing padding."""
    body = unquote(body) if "%" in body else body
    body = _WHITE.sub("", body) if _WHITE.search(body) else body
    return body.translate(_BASE64URL) + "=" * (-len(body) % 4)
