"""Keep-alive connections that are found in constant time.

httpcore's own pool walks all its connections for each request, squared for idle ones; with
1,000 jobs in flight that costs more than the requests. Here a connection in use is nobody's
business, and the idle ones of an origin lie on a stack. How many are open is bounded by the
jobs in flight, so a request never waits for a connection.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from time import monotonic

import httpcore
import httpx

from falq.stream import Network

#: Idle connections are kept as long as common gateways keep theirs, with a margin.
KEEP_ALIVE_S = 30.0
#: A bound on idle sockets after a burst.
MAX_IDLE = 256
#: What a connection receives at once: a thousand of them are open.
BUFFER_BYTES = 16 * 1024
#: Name of the request extension that asks for a connection no longer idle than that.
MAX_IDLE_S = "falq_max_idle_s"

_Place = tuple[bytes, bytes, int]
_Idle = deque[tuple[float, httpcore.AsyncHTTP11Connection]]
#: What httpcore raises, as httpx names it; both trees have the same names.
_TRANSLATED: dict[type[BaseException], type[httpx.TransportError]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        "ConnectTimeout", "ReadTimeout", "WriteTimeout", "ConnectError", "ReadError",
        "WriteError", "LocalProtocolError", "RemoteProtocolError", "UnsupportedProtocol",
    )
}  # fmt: skip


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except tuple(_TRANSLATED) as error:
        raise _TRANSLATED[type(error)](str(error)) from error


class Connections(httpx.AsyncBaseTransport):
    """A transport over plain HTTP/1.1 connections, each used by one request at a time."""

    def __init__(self) -> None:
        self._idle: dict[_Place, _Idle] = {}
        self._ssl_context: ssl.SSLContext | None = None
        self._network = Network(BUFFER_BYTES)
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request on an idle connection or on one of its own."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        asked = httpcore.Request(
            method=request.method,
            url=url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        max_idle_s = request.extensions.get(MAX_IDLE_S, KEEP_ALIVE_S)
        connect_s = request.extensions.get("timeout", {}).get("connect")
        with _translated():
            connection = await self._find(url.origin, max_idle_s) or await self._open(
                url.origin, connect_s
            )
            answer = await connection.handle_async_request(asked)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream, self, url.origin, connection),
            extensions=answer.extensions,
        )

    async def _find(
        self, origin: httpcore.Origin, max_idle_s: float
    ) -> httpcore.AsyncHTTP11Connection | None:
        idle = self._idle.get(_place(origin))
        oldest = monotonic() - max_idle_s
        while idle and idle[-1][0] >= oldest:
            _, connection = idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    async def _open(
        self, origin: httpcore.Origin, connect_s: float | None
    ) -> httpcore.AsyncHTTP11Connection:
        """Connect; httpcore would do it in the middle of a request, behind a lock."""
        host = origin.host.decode("ascii")
        stream: httpcore.AsyncNetworkStream = await self._network.connect(
            host, origin.port, connect_s
        )
        if origin.scheme == b"https":
            if self._ssl_context is None:
                self._ssl_context = httpx.create_ssl_context(trust_env=False)
                self._ssl_context.set_alpn_protocols(["http/1.1"])
            stream = await stream.start_tls(self._ssl_context, host, connect_s)
        connection = httpcore.AsyncHTTP11Connection(origin, stream)
        # A connection in use is nobody else's, and httpcore's lock costs a turn of the event
        # loop each time. Should the attribute be called otherwise one day, the lock is back.
        connection._state_lock = _Unlocked()  # type: ignore[assignment]  # noqa: SLF001
        return connection

    async def give_back(
        self, origin: httpcore.Origin, connection: httpcore.AsyncHTTP11Connection
    ) -> None:
        """Keep a connection for the next request, unless its reply was not read to the end."""
        if not connection.is_idle():
            return
        if self._closed:
            await connection.aclose()
            return
        idle = self._idle.setdefault(_place(origin), deque())
        idle.append((monotonic(), connection))
        await self._drop_stale(idle)

    async def _drop_stale(self, idle: _Idle) -> None:
        oldest = monotonic() - KEEP_ALIVE_S
        while idle and (idle[0][0] < oldest or len(idle) > MAX_IDLE):
            _, connection = idle.popleft()
            await connection.aclose()

    async def aclose(self) -> None:
        """Close the idle connections; those in use close as their requests end."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                _, connection = idle.popleft()
                await connection.aclose()


class _Unlocked:
    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, *_: object) -> None:
        return


def _place(origin: httpcore.Origin) -> _Place:
    return origin.scheme, origin.host, origin.port


class _Body(httpx.AsyncByteStream):
    def __init__(
        self,
        stream: object,
        home: Connections,
        origin: httpcore.Origin,
        connection: httpcore.AsyncHTTP11Connection,
    ) -> None:
        self._stream = stream
        self._home = home
        self._origin = origin
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for part in self._stream:  # type: ignore[attr-defined]
                yield part

    async def aclose(self) -> None:
        await self._stream.aclose()  # type: ignore[attr-defined]
        await self._home.give_back(self._origin, self._connection)
