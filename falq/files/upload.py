"""Local files uploaded to fal's storage, so that a model can be given their address.

By fal's documented REST form (fal-api.md §7.3) and not through fal-client: that package has
fal's hosts as constants, so ``FALQ_FAL_URL`` could not be honoured; it holds the whole of a
smaller file in memory; and the parts of a larger one it neither repeats after a fault nor
lists in order (§7.2).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx

from falq.errors import (
    ArgumentsError,
    DownloadError,
    FalqError,
    InvalidKeyError,
    MissingKeyError,
    ModelError,
    NetworkError,
)
from falq.files.artifacts import shown_url
from falq.files.local_file import PIECE_BYTES, Fingerprint, LocalFile, fingerprint, open_file
from falq.files.pinned import PinnedBackend, PinnedTransport
from falq.files.policy import MediaPolicy

#: Told the bytes sent so far and in all; goes back when a part is sent again.
UploadProgress = Callable[[int, int], None]
#: Larger files are sent in parts (fal_client's own bound).
MULTIPART_ABOVE_BYTES = 100 * 1024 * 1024
#: A multiple of ``PIECE_BYTES``.
PART_BYTES = 10 * 1024 * 1024
PARALLEL_PARTS = 4
ATTEMPTS = 4
BACKOFF_S = 0.5
#: Silence of the server after which an attempt has failed; storage answers late, not slowly.
IDLE_S = 120.0
#: The same for a look whether an uploaded file is still there.
LOOK_S = 10.0
#: Anything else would be refused as a header further down, in words that show it.
_KEY = re.compile(r"[\x21-\x7e]+\Z")
_PASSING = frozenset({408, 425, 429})
_STORAGE = "storage_type=fal-cdn-v3"


class UploadCache(Protocol):
    """Remembers for a day what was uploaded where, by account; may block and may forget."""

    def get(self, key: str) -> str | None:
        """Find the URL of a content."""

    def put(self, key: str, url: str) -> None:
        """Remember the URL of a content."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where files are uploaded, and who pays for nothing: storage is free of charge.

    Attributes:
        rest_url: Base of the role of rest.fal.ai, without a slash at its end.
        key: Fal's key; sent to ``rest_url`` only, never to where the bytes go.
        transport: In place of the real network, for tests.
        sleep: Waits between attempts.
    """

    rest_url: str
    key: str | None
    transport: httpx.AsyncBaseTransport | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def __repr__(self) -> str:
        return f"Storage(rest_url={self.rest_url!r})"


async def upload_file(
    path: str,
    *,
    storage: Storage,
    cache: UploadCache | None = None,
    fresh: bool = False,
    on_progress: UploadProgress | None = None,
) -> str:
    """Upload a local file and give its URL, which anybody who knows it can read.

    Safe to repeat: a second upload makes a second copy, unless the cache knows the first.

    Args:
        path: A regular file that is not empty.
        storage: Where to.
        cache: Asked by content, type and suffix before anything is sent; what it knows is used
            if the file is still there.
        fresh: Send it whatever the cache knows.
        on_progress: Called on the event loop.

    Raises:
        ArgumentsError: The file cannot be read, or it changed while it was sent.
        AccountError: No key, or fal does not take it.
        ModelError: Fal refuses the file.
        NetworkError: Fal could not be reached.
    """
    file, fd = await asyncio.to_thread(open_file, path)
    parts = urlsplit(storage.rest_url)
    policy = MediaPolicy(allowed_origin=f"{parts.scheme}://{parts.netloc}")
    backend = PinnedBackend(policy.allowed_address())
    transport = storage.transport or PinnedTransport(backend, PARALLEL_PARTS + 1)
    try:
        sending = _Sending(
            file=file,
            fd=fd,
            fingerprint=await asyncio.to_thread(fingerprint, file, fd),
            storage=storage,
            policy=policy,
            transport=transport,
            on_progress=on_progress,
        )
        return await _from_cache_or_sent(sending, cache, fresh=fresh)
    finally:
        os.close(fd)
        await transport.aclose()


async def _from_cache_or_sent(sending: _Sending, cache: UploadCache | None, *, fresh: bool) -> str:
    if cache is None:
        return await sending.send()
    # The suffix is part of the address, and some models go by it.
    suffix = sending.file.name.rpartition(".")[2].lower()
    key = f"{sending.fingerprint.sha256}:{sending.file.content_type}:{suffix}"
    known = None if fresh else await asyncio.to_thread(cache.get, key)
    if known is not None and await sending.is_there(known):
        return known
    url = await sending.send()
    await asyncio.to_thread(cache.put, key, url)
    return url


@dataclass(frozen=True, kw_only=True)
class _Sending:
    """One file on its way to fal."""

    file: LocalFile
    fd: int
    fingerprint: Fingerprint
    storage: Storage
    policy: MediaPolicy
    transport: httpx.AsyncBaseTransport
    on_progress: UploadProgress | None
    sent: dict[int, int] = field(default_factory=dict)

    async def send(self) -> str:
        """Send the file and give its address."""
        if self.storage.key is None:
            raise MissingKeyError("no key: FAL_KEY is not set, and uploads need one")
        if not _KEY.match(self.storage.key):
            raise InvalidKeyError("the key is empty or holds characters that no key has")
        large = self.file.bytes > MULTIPART_ABOVE_BYTES
        url = await (self.in_parts() if large else self.whole())
        if os.fstat(self.fd).st_size != self.file.bytes:
            raise self._changed()
        return url

    async def is_there(self, url: str) -> bool:
        """Ask whether an uploaded file is still there; in doubt it is."""
        try:
            self.policy.check_url(url)
            request = httpx.Request("HEAD", url, extensions={"timeout": _timeouts(LOOK_S)})
            response = await self.transport.handle_async_request(request)
            await response.aclose()
        except DownloadError:
            return False
        except httpx.HTTPError:
            return True
        return response.status_code not in (404, 410)

    async def whole(self) -> str:
        upload_url, file_url = await self._initiate("storage/upload/initiate")
        await self._put(upload_url, 0, self.file.bytes, 0)
        return file_url

    async def in_parts(self) -> str:
        try:
            return await self._in_parts()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _in_parts(self) -> str:
        upload_url, file_url = await self._initiate("storage/upload/initiate-multipart")
        limit = asyncio.Semaphore(PARALLEL_PARTS)
        starts = range(0, self.file.bytes, PART_BYTES)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._part(upload_url, number, start, limit))
                for number, start in enumerate(starts, 1)
            ]
        listed = [{"partNumber": n, "etag": task.result()} for n, task in enumerate(tasks, 1)]
        await self._request("POST", below(upload_url, "complete"), json={"parts": listed})
        return file_url

    async def _initiate(self, path: str) -> tuple[str, str]:
        url = f"{self.storage.rest_url}/{path}?{_STORAGE}"
        asked = {"file_name": self.file.name, "content_type": self.file.content_type}
        headers = {"authorization": f"Key {self.storage.key}"}
        response = await self._request("POST", url, json=asked, headers=headers)
        try:
            told = response.json()
            upload_url, file_url = str(told["upload_url"]), str(told["file_url"])
        except (ValueError, KeyError, TypeError) as err:
            raise NetworkError("fal's storage answered without an upload_url") from err
        try:
            self.policy.check_url(upload_url)
        except DownloadError as err:
            raise NetworkError("fal's storage names a place that falq does not send to") from err
        return upload_url, file_url

    async def _part(self, url: str, number: int, start: int, limit: asyncio.Semaphore) -> str:
        async with limit:
            size = min(PART_BYTES, self.file.bytes - start)
            response = await self._put(below(url, str(number)), start, size, number)
        etag: str | None = response.headers.get("etag")
        if etag is None:
            raise NetworkError(f"fal's storage took part {number} without giving an ETag")
        return etag

    async def _put(self, url: str, start: int, size: int, number: int) -> httpx.Response:
        headers = {"content-type": self.file.content_type, "content-length": str(size)}
        return await self._request(
            "PUT", url, headers=headers, body=lambda: self._pieces(start, size, number)
        )

    async def _pieces(self, start: int, size: int, number: int) -> AsyncIterator[bytes]:
        done = 0
        while done < size:
            wanted = min(PIECE_BYTES, size - done)
            piece = await asyncio.to_thread(self._piece, wanted, start + done)
            yield piece
            done += len(piece)
            self._tell(number, done)

    def _piece(self, wanted: int, at: int) -> bytes:
        """Read a piece, which must be what was hashed before anything was sent."""
        piece = os.pread(self.fd, wanted, at)
        if hashlib.sha256(piece).digest() != self.fingerprint.pieces[at // PIECE_BYTES]:
            raise self._changed()
        return piece

    def _changed(self) -> ArgumentsError:
        return ArgumentsError(
            f"{self.file.path!r} changed while it was uploaded", "upload it again"
        )

    def _tell(self, number: int, done: int) -> None:
        self.sent[number] = done
        if self.on_progress is not None:
            self.on_progress(sum(self.sent.values()), self.file.bytes)

    async def _request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> httpx.Response:
        """Send a request until it is taken; every one of an upload may be repeated."""
        wait_s = BACKOFF_S
        for left in reversed(range(ATTEMPTS)):
            content = body() if body is not None else None
            request = httpx.Request(
                method,
                url,
                headers={"accept-encoding": "identity", **(headers or {})},
                json=json,
                content=content,
                extensions={"timeout": _timeouts(IDLE_S)},
            )
            try:
                return await self._exchange(request)
            except NetworkError:
                if not left:
                    raise
            await self.storage.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
            wait_s *= 2
        raise AssertionError("the last attempt returns or raises")

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self.transport.handle_async_request(request)
            response.request = request
            try:
                await response.aread()
            finally:
                await response.aclose()
        except (httpx.HTTPError, DownloadError) as err:
            reason = str(err) or type(err).__name__
            shown = shown_url(str(request.url))
            raise NetworkError(f"cannot upload to {shown}: {reason}") from err
        if not response.is_success:
            raise _problem(response, self.file.path)
        return response


def _timeouts(silence_s: float) -> dict[str, float]:
    return dict.fromkeys(("connect", "read", "write"), silence_s)


def below(url: str, tail: str) -> str:
    """Put a part number behind the path of an upload URL and before its query.

    >>> below("https://h/files/a.mp4?signature=s", "3")
    'https://h/files/a.mp4/3?signature=s'
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}/{tail}"))


def _problem(response: httpx.Response, path: str) -> FalqError:
    status = response.status_code
    shown = shown_url(str(response.request.url))
    if status in (401, 403) and "authorization" in response.request.headers:
        return InvalidKeyError(f"fal's storage does not accept the key ({status})")
    if status >= 500 or status in _PASSING:
        return NetworkError(f"{shown} answers {status}")
    said = response.text[:300]
    return ModelError(
        f"fal's storage refuses {path!r} with {status}: {said}", "nothing was charged"
    )
