"""One HTTP exchange: sent at most once, bounded in time and size, its faults told apart.

httpx bounds the silence between two bytes but not the whole exchange, so a server that
sends a byte now and then holds a call for ever. Here each exchange has a wall-clock
deadline. Nothing is repeated and no redirect is followed: the key goes where it was meant
to go, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import lru_cache

import httpx

from falq.errors import InvalidKeyError
from falq.fal.connections import MAX_IDLE_S, Connections
from falq.fal.reading import Reply

MIB = 1024 * 1024
#: Status replies, submits, refusals: their logs are the largest part.
SMALL_REPLY_BYTES = 8 * MIB
#: Results and history with payloads, in decoded bytes.
LARGE_REPLY_BYTES = 64 * MIB
#: A paid POST goes on a connection that was used just before, or on one of its own: a
#: gateway that closes an idle one at the same moment would leave its outcome unknown.
PAID_MAX_IDLE_S = 3.0
#: Set here only: with a second content type fal reads the body as bytes (fal-api.md §2.2).
_OURS = frozenset((b"content-type", b"authorization", b"accept", b"accept-encoding", b"host"))
#: Name resolution, TCP and TLS each.
_MAX_CONNECT_S = 10.0


class FaultKind(StrEnum):
    """How an exchange ended without an answer."""

    NOT_SENT = "not_sent"
    TIMEOUT = "timeout"
    DROPPED = "dropped"
    GARBAGE = "garbage"


class WireFault(Exception):  # noqa: N818  # a fault of the line, translated before it leaves
    """An exchange that ended without an answer; never leaves ``falq.fal``.

    Attributes:
        request_id: Fal's id of the request, where the head of the answer told it.
    """

    def __init__(self, kind: FaultKind, reason: str, request_id: str | None = None) -> None:
        super().__init__(kind, reason, request_id)
        self.kind = kind
        self.reason = reason
        self.request_id = request_id


#: The most special kind first; only the NOT_SENT ones prove that nothing was sent.
_FAULTS: tuple[tuple[type[Exception], FaultKind], ...] = (
    (httpx.ConnectError, FaultKind.NOT_SENT),
    (httpx.ConnectTimeout, FaultKind.NOT_SENT),
    (httpx.PoolTimeout, FaultKind.NOT_SENT),
    (httpx.UnsupportedProtocol, FaultKind.NOT_SENT),
    (httpx.InvalidURL, FaultKind.NOT_SENT),
    (httpx.TimeoutException, FaultKind.TIMEOUT),
    (TimeoutError, FaultKind.TIMEOUT),
    (httpx.DecodingError, FaultKind.GARBAGE),
    (httpx.HTTPError, FaultKind.DROPPED),
    (httpx.StreamError, FaultKind.DROPPED),
    # TLS alerts in the middle of an exchange pass httpcore as they are.
    (OSError, FaultKind.DROPPED),
)
_FAULT_TYPES = tuple(kind for kind, _ in _FAULTS)


def _fault(error: Exception, url: str, deadline_s: float) -> WireFault:
    kind = next(kind for raised, kind in _FAULTS if isinstance(error, raised))
    host = url.split("/")[2] if url.count("/") > 1 else url
    reason = {
        FaultKind.NOT_SENT: f"cannot connect to {host}: {error or type(error).__name__}",
        FaultKind.TIMEOUT: f"{host} gave no whole answer within {deadline_s:g} s",
        FaultKind.DROPPED: f"{host} broke the connection off: {error or type(error).__name__}",
        FaultKind.GARBAGE: f"{host} sent an answer that cannot be decoded",
    }
    return WireFault(kind, reason[kind])


def check_key(key: str | None) -> str | None:
    """Strip a key and make sure that it can stand in a header.

    Raises:
        InvalidKeyError: It cannot; the message does not show it.
    """
    stripped = (key or "").strip()
    if not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        raise InvalidKeyError("the fal key holds characters that no key has")
    return stripped or None


class _Answer:
    """As much of an answer as has come."""

    def __init__(self) -> None:
        self.response: httpx.Response | None = None
        self.body = bytearray()

    @property
    def request_id(self) -> str | None:
        return None if self.response is None else self.response.headers.get("x-fal-request-id")

    def refusal(self) -> Reply | None:
        if self.response is None or self.response.status_code < 400:
            return None
        return self.reply()

    def reply(self) -> Reply:
        assert self.response is not None  # noqa: S101  # callers hold a whole answer
        response = self.response
        return Reply(
            status=response.status_code, headers=response.headers, content=bytes(self.body)
        )

    async def fill(self, response: httpx.Response, max_bytes: int) -> None:
        self.response = response
        try:
            async for chunk in _plain_body(response):
                self.body += chunk
                if len(self.body) > max_bytes:
                    reason = f"fal's answer is larger than {max_bytes} bytes"
                    raise WireFault(FaultKind.GARBAGE, reason, self.request_id)
        finally:
            await response.aclose()


def _plain_body(response: httpx.Response) -> AsyncIterator[bytes]:
    """Give the decoded body; past httpx's decoders, three generators, where nothing is coded."""
    stream = response.stream
    if "content-encoding" in response.headers or not isinstance(stream, httpx.AsyncByteStream):
        return response.aiter_bytes()
    return aiter(stream)


class LiveReply:
    """An answer that is read while it is being sent."""

    def __init__(self, response: httpx.Response, url: str, idle_s: float) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._chunks = response.aiter_bytes()
        self._url = url
        self._idle_s = idle_s

    async def chunk(self) -> bytes | None:
        """Give the next bytes; None at the end.

        Raises:
            WireFault: Nothing came for ``idle_s``, or the connection broke.
        """
        try:
            async with asyncio.timeout(self._idle_s):
                return await anext(self._chunks, None)
        except _FAULT_TYPES as error:
            raise _fault(error, self._url, self._idle_s) from error

    async def rest(self) -> Reply:
        """Read what is left of a short answer."""
        body = bytearray()
        while len(body) <= MIB and (chunk := await self.chunk()) is not None:
            body += chunk
        return Reply(status=self.status, headers=self.headers, content=bytes(body))


class Wire:
    """The connections to fal and the key that goes over them."""

    def __init__(self, key: str | None, transport: httpx.AsyncBaseTransport | None) -> None:
        self._transport = transport if transport is not None else Connections()
        self._key = check_key(key)
        self._public = _standing_headers("application/json", "gzip", None)
        self._plain = _standing_headers("application/json", "identity", self._key)
        self._gzip = _standing_headers("application/json", "gzip", self._key)
        self._events = _standing_headers("text/event-stream", "identity", self._key)

    @property
    def has_key(self) -> bool:
        """Whether a key goes with each exchange."""
        return self._key is not None

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        deadline_s: float,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = SMALL_REPLY_BYTES,
        paid: bool = False,
        with_key: bool = True,
    ) -> Reply:
        """Send one request and read its whole answer.

        An answer of 400 and above whose body breaks off is given all the same: its status
        is what counts.

        Raises:
            WireFault: There is no answer.
        """
        answer = _Answer()
        keyed = self._plain if max_bytes <= SMALL_REPLY_BYTES else self._gzip
        standing = keyed if with_key else self._public
        try:
            async with asyncio.timeout(deadline_s):
                request = _request(
                    method, url, standing, deadline_s=deadline_s, content=content,
                    headers=headers, paid=paid,
                )  # fmt: skip
                response = await self._transport.handle_async_request(request)
                await answer.fill(response, max_bytes)
        except _FAULT_TYPES as error:
            refusal = answer.refusal()
            if refusal is not None:
                return self._without_key(refusal)
            fault = _fault(error, url, deadline_s)
            raise WireFault(fault.kind, fault.reason, answer.request_id) from error
        return self._without_key(answer.reply())

    @asynccontextmanager
    async def live(self, url: str, *, idle_s: float) -> AsyncIterator[LiveReply]:
        """Open a stream of events.

        Raises:
            WireFault: There is no answer within ``idle_s``.
        """
        try:
            async with asyncio.timeout(idle_s):
                request = _request("GET", url, self._events, deadline_s=idle_s)
                response = await self._transport.handle_async_request(request)
        except _FAULT_TYPES as error:
            raise _fault(error, url, idle_s) from error
        try:
            yield LiveReply(response, url, idle_s)
        finally:
            await response.aclose()

    def _without_key(self, reply: Reply) -> Reply:
        secret = (self._key or "").encode()
        if not secret or secret not in reply.content:
            return reply
        cleaned = reply.content.replace(secret, b"<key>")
        return Reply(status=reply.status, headers=reply.headers, content=cleaned)

    async def aclose(self) -> None:
        """Close all idle connections."""
        await self._transport.aclose()


def _standing_headers(accept: str, encoding: str, key: str | None) -> list[tuple[bytes, bytes]]:
    headers = {"accept": accept, "accept-encoding": encoding, "user-agent": "falq"}
    if key is not None:
        headers["authorization"] = f"Key {key}"
    return httpx.Headers(headers).raw


def _request(
    method: str,
    url: str,
    standing: list[tuple[bytes, bytes]],
    *,
    deadline_s: float,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    paid: bool = False,
) -> httpx.Request:
    address, host = _parsed(url)
    sent = [(b"host", host), *standing]
    if content is not None:
        sent.append((b"content-type", b"application/json"))
        sent.append((b"content-length", b"%d" % len(content)))
    if headers:
        sent += [own for own in httpx.Headers(headers).raw if own[0].lower() not in _OURS]
    # Connecting gives up well before the deadline does, so a deadline that ran out while
    # connecting still shows as a connection that was never made.
    extensions: dict[str, object] = {
        "timeout": {"connect": min(_MAX_CONNECT_S, deadline_s / 3)},
    }
    if paid:
        extensions[MAX_IDLE_S] = PAID_MAX_IDLE_S
    # With a stream httpx takes the headers as they are, without looking for those that it adds.
    body = None if content is None else httpx.ByteStream(content)
    return httpx.Request(method, address, headers=sent, stream=body, extensions=extensions)


@lru_cache(maxsize=64)
def _parsed(url: str) -> tuple[httpx.URL, bytes]:
    """Read an address, with its Host header; paid calls of a model go to one."""
    address = httpx.URL(url)
    return address, address.netloc
