"""Artifacts fetched to disk: streamed, capped, checked, hashed, whole or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urljoin
from weakref import WeakValueDictionary

import httpx

from falq.batches import Batches
from falq.errors import DownloadError
from falq.files.artifacts import (
    Artifact,
    SavedFile,
    content_type_of,
    is_data_uri,
    short_url,
    shown_url,
)
from falq.files.body import BodyGauge, data_pieces, data_type, decoded
from falq.files.content import UNKNOWN_TYPE, by_suffix, contradiction, settle
from falq.files.names import NamePlan
from falq.files.output import OutputDirectory
from falq.files.partial import PartialFile
from falq.files.pinned import PinnedBackend, PinnedTransport, Resolver, resolve_host
from falq.files.policy import MediaPolicy, refused
from falq.files.steps import Steps, in_step
from falq.files.write_behind import WriteBehind

#: Told the bytes so far and in all, the latter None while unknown; starts again at 0 on a retry.
Progress = Callable[[int, int | None], None]
CONNECT_S = 10.0
#: Results that may be saved at once for each file that may be fetched at once.
RESULTS_PER_FILE = 4
#: First wait between two attempts, doubled each time and jittered.
BACKOFF_S = 0.3
#: Threads that hash and write: more would only take the processor from each other.
WRITERS = 4
_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "falq"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429})
_NEVER_EMPTY = ("image/", "video/", "audio/", "model/")
#: A suffix of films is TypeScript's, too.
_AMBIGUOUS = frozenset({"ts"})
_T = TypeVar("_T")


class Downloader:
    """Fetches artifacts; one per process, an async context manager.

    No key, no cookie and no proxy of the environment is ever used: media hosts are strangers.

    Args:
        policy: What may be fetched.
        transport: In place of the real network, for tests.
        resolve: Where addresses of hosts come from.
        sleep: Waits between attempts.
    """

    def __init__(
        self,
        policy: MediaPolicy,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolver = resolve_host,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        backend = PinnedBackend(policy.allowed_address(), resolve)
        self.policy = policy
        self._transport = transport or PinnedTransport(backend, policy.parallel)
        self._sleep = sleep
        #: Turns of whole results: each holds open directories, and descriptors are few.
        self.results = asyncio.Semaphore(RESULTS_PER_FILE * policy.parallel)
        self._turns = asyncio.Semaphore(policy.parallel)
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="falq-files")
        #: By directory; each lives as long as somebody waits in it.
        self._lanes: WeakValueDictionary[str, Batches[Steps[Any]]] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections and end the threads; downloads under way must have ended."""
        await self._transport.aclose()
        self._threads.shutdown(wait=False)

    async def fetch(
        self,
        artifact: Artifact,
        into: OutputDirectory,
        name: NamePlan,
        *,
        label: str,
        deadline_s: float,
        sha256: str | None = None,
        on_progress: Progress | None = None,
    ) -> SavedFile:
        """Fetch one artifact and save it.

        Safe to repeat and to cancel: a file is there whole or not at all. Costs nothing.
        Requests that fail for a passing reason are made again from the start.

        Args:
            artifact: What to fetch.
            into: Where to; stays open.
            name: How the file may be called.
            label: Of this file of this job alone; see ``PartialFile``.
            deadline_s: Seconds for all attempts, counted from this download's turn.
            sha256: What somebody saw there before; other bytes are refused.
            on_progress: Called on the event loop.

        Raises:
            DownloadError: ``retryable`` tells whether trying again later can help.
            OutputError: The place to write refuses.
        """
        one = _Download(
            downloader=self,
            artifact=artifact,
            into=into,
            name=name,
            label=label,
            sha256=sha256,
            on_progress=on_progress or _unseen,
        )
        async with self._turns:
            try:
                async with asyncio.timeout(deadline_s):
                    return await self._attempts(one)
            except TimeoutError as err:
                message = f"{shown_url(artifact.url)} was not there within {deadline_s:g} s"
                raise DownloadError(message) from err

    def in_thread(self, function: Callable[..., _T], *args: object) -> asyncio.Future[_T]:
        """Run a function that touches the disk off the event loop; it starts at once."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, partial(function, *args))

    async def in_turn(self, directory: str, steps: Steps[_T]) -> _T:
        """Do work on one directory in a thread, with others that wait for the same one.

        Threads that fill one directory at once only take the interpreter and the directory's
        lock from each other. One that hangs holds up its own directory alone.
        """
        lane = self._lanes.get(directory)
        if lane is None:
            lane = self._lanes[directory] = Batches(in_step, self.in_thread)
        outcome: _T = await lane.do(steps)
        return outcome

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[httpx.Response]:
        """Open a URL, following redirects that the policy allows, each checked like the first.

        Raises:
            DownloadError: Refused, unreachable, or answered with anything but 200.
        """
        current = url
        for _ in range(self.policy.max_redirects + 1):
            response = await self._send(current)
            try:
                if response.status_code not in _REDIRECTS:
                    _check_status(response.status_code, current)
                    yield response
                    return
                current = _next_url(response, current)
            finally:
                await response.aclose()
        raise refused(url, f"it redirects more than {self.policy.max_redirects} times")

    async def _send(self, url: str) -> httpx.Response:
        self.policy.check_url(url)
        idle_s = self.policy.idle_s
        times = {"connect": CONNECT_S, "read": idle_s, "write": idle_s, "pool": None}
        try:
            request = httpx.Request("GET", url, headers=_HEADERS, extensions={"timeout": times})
        except (httpx.InvalidURL, UnicodeError) as err:
            raise refused(url, "it is no valid URL") from err
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    async def _attempts(self, one: _Download) -> SavedFile:
        wait_s = BACKOFF_S
        for left in reversed(range(self.policy.attempts)):
            try:
                return await one.attempt()
            except DownloadError as err:
                if not (left and err.retryable):
                    raise
            await self._sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
            wait_s *= 2
        raise AssertionError("the last attempt returns or raises")


@dataclass(frozen=True)
class _Body:
    """The bytes of an artifact as they come, and what is known about them beforehand.

    Attributes:
        announced: Content type.
        size: Told to whoever watches.
        expected: Fewer bytes were cut short, and may come whole the next time.
        exact: Any other number of bytes is an error for good.
    """

    pieces: AsyncIterator[bytes]
    announced: str | None
    size: int | None = None
    expected: int | None = None
    exact: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Download:
    """One artifact on its way to disk."""

    downloader: Downloader
    artifact: Artifact
    into: OutputDirectory
    name: NamePlan
    label: str
    sha256: str | None
    on_progress: Progress

    async def attempt(self) -> SavedFile:
        url = self.artifact.url
        if is_data_uri(url):
            body = _Body(_gently(data_pieces(url)), data_type(url), exact=self.artifact.size)
            return await self._save(body)
        try:
            async with self.downloader.open(url) as response:
                return await self._receive(response)
        except httpx.HTTPError as err:
            reason = str(err) or type(err).__name__
            raise DownloadError(f"{shown_url(url)} could not be fetched: {reason}") from err

    async def _receive(self, response: httpx.Response) -> SavedFile:
        size, max_bytes = _length(response), self.downloader.policy.max_bytes
        BodyGauge(self.artifact.url, max_bytes).expect(size)
        announced = content_type_of(response.headers.get("content-type"))
        if announced in (None, UNKNOWN_TYPE, "binary/octet-stream"):
            announced = self.artifact.content_type or announced
        # Without length and chunks a cut body looks whole: then fal's own word counts.
        framed = size is not None or "transfer-encoding" in response.headers
        expected = size if framed else self.artifact.size
        pieces = decoded(response, self.artifact.url, max_bytes)
        return await self._save(_Body(pieces, announced, size, expected))

    async def _save(self, body: _Body) -> SavedFile:
        part = await self._begin()
        try:
            await self._write(part, body.pieces, body.size)
            self._check(part, body)
            return await self._keep(part, body.announced)
        finally:
            if not part.closed:
                await asyncio.shield(self.downloader.in_thread(part.discard))

    async def _begin(self) -> PartialFile:
        creating = self.downloader.in_thread(self.into.partial, self.label)
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            creating.add_done_callback(_discard_unwanted)
            raise

    async def _write(
        self, part: PartialFile, pieces: AsyncIterator[bytes], size: int | None
    ) -> None:
        gauge = BodyGauge(self.artifact.url, self.downloader.policy.max_bytes)
        behind = WriteBehind(part, self.downloader.in_thread)
        self.on_progress(0, size)
        async for piece in pieces:
            gauge.count(piece)
            if await behind.add(piece):
                self.on_progress(gauge.bytes, size)
        await behind.finish()
        self.on_progress(gauge.bytes, size)

    def _check(self, part: PartialFile, body: _Body) -> None:
        shown = shown_url(self.artifact.url)
        if body.expected is not None and part.bytes < body.expected:
            raise DownloadError(f"{shown} was cut short: {part.bytes:,} of {body.expected:,} bytes")
        if body.exact not in (None, part.bytes):
            message = f"{shown} has {part.bytes:,} bytes, announced were {body.exact:,}"
            raise DownloadError(message, retryable=False)
        for announced in filter(None, (body.announced, self._fals_type())):
            if part.bytes == 0 and announced.startswith(_NEVER_EMPTY):
                raise DownloadError(f"{shown} is empty, expected {announced}")
            reason = contradiction(part.head, announced)
            if reason is not None:
                raise DownloadError(f"{shown} is not what it should be: {reason}", retryable=False)
        if self.sha256 not in (None, part.sha256):
            message = f"{shown} is not the file that was there before (sha256 differs)"
            raise DownloadError(message, retryable=False)

    def _fals_type(self) -> str | None:
        """Give the type by fal's word, else by the name: the media host's is another one."""
        name = self.artifact.file_name or ""
        suffix = _suffix(self.artifact.url) or name.rpartition(".")[2]
        named = by_suffix(suffix) if suffix not in _AMBIGUOUS else None
        return self.artifact.content_type or (named.content_type if named else None)

    async def _keep(self, part: PartialFile, announced: str | None) -> SavedFile:
        url = self.artifact.url
        content = settle(part.head, announced, _suffix(url))
        names = self.name.candidates(content.extension)
        kept = await self.downloader.in_thread(self.into.keep, part, names)
        return SavedFile(
            path=f"{self.into.path}/{kept}",
            url=short_url(url),
            content_type=content.content_type,
            bytes=part.bytes,
            sha256=part.sha256,
        )


def _unseen(_done: int, _total: int | None) -> None:
    return None


def _discard_unwanted(creating: asyncio.Future[PartialFile]) -> None:
    if not creating.cancelled() and creating.exception() is None:
        creating.result().discard()


async def _gently(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


def _length(response: httpx.Response) -> int | None:
    """Give the size in decoded bytes where the headers tell it."""
    text = response.headers.get("content-length", "")
    plain = response.headers.get("content-encoding", "identity").lower() in ("", "identity")
    return int(text) if plain and text.isascii() and text.isdigit() else None


def _suffix(url: str) -> str:
    path: str = "" if is_data_uri(url) else httpx.URL(url).path
    return path.rpartition("/")[2].rpartition(".")[2]


def _next_url(response: httpx.Response, url: str) -> str:
    location: str = response.headers.get("location", "")
    if not location:
        raise refused(url, f"it answers {response.status_code} without saying where to go")
    try:
        return urljoin(url, location)
    except ValueError as err:
        raise refused(url, "it redirects to something that is no URL") from err


def _check_status(status: int, url: str) -> None:
    shown = shown_url(url)
    if status == 200:
        return
    if status >= 500 or status in _PASSING:
        raise DownloadError(f"{shown} answers {status}; it may pass")
    if status in (404, 410):
        hint = "fal keeps files for a limited time; a new call makes a new one"
        raise DownloadError(f"{shown} is not there ({status})", hint, retryable=False)
    if status in (401, 403):
        hint = "the file is private, or its signed URL has run out"
        raise DownloadError(f"{shown} may not be read ({status})", hint, retryable=False)
    raise DownloadError(f"{shown} answers {status}, expected 200", retryable=False)
