"""An httpx transport that connects only to addresses it has checked.

The name is resolved once, every answer is checked, and the connection goes to that very
address, while ``Host`` and the TLS name stay those of the URL: a name that answers public
first and private later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)

import httpcore
import httpx

from falq.errors import DownloadError
from falq.files.policy import is_public, refused
from falq.stream import Network, Stream

#: Gives the addresses of a host; raises OSError when there are none.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
#: Bodies of known length from here on are taken from the stream itself; their connection is
#: closed afterwards.
TAKEN_ABOVE_BYTES = 8 * 1024 * 1024
#: Seconds that an idle connection is kept for the next file.
KEEP_ALIVE_S = 15.0
_TRANSLATED: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.TimeoutException, httpx.ReadTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.NetworkError, httpx.ReadError),
    (httpcore.ProtocolError, httpx.RemoteProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
)


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedBackend(Network):
    """Connects to checked addresses only.

    Args:
        exempt: Host and port of our own that may have any address.
        resolve: Where addresses come from.
    """

    def __init__(
        self,
        exempt: tuple[str, int] | None = None,
        resolve: Resolver = resolve_host,
    ) -> None:
        super().__init__()
        self._exempt = exempt
        self._resolve = resolve

    async def connect(self, host: str, port: int, timeout_s: float | None) -> Stream:
        """Connect to the first checked address that answers."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await self._addresses(host, port, timeout_s):
            try:
                return await super().connect(address, port, timeout_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as err:
                failure = err
        raise failure

    async def _addresses(self, host: str, port: int, timeout: float | None) -> Sequence[str]:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except TimeoutError as err:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from err
        except (OSError, UnicodeError) as err:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved: {err}") from err
        if (host.lower(), port) != self._exempt:
            _check(host, addresses)
        return addresses


def _check(host: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        if not is_public(address):
            raise refused(f"https://{host}", f"its address {address} is not a public one")


class PinnedTransport(httpx.AsyncBaseTransport):
    """The transport of :class:`PinnedBackend`; redirects, proxies and retries are not its own."""

    def __init__(self, backend: PinnedBackend, max_connections: int) -> None:
        self._backend = backend
        self._max_connections = max_connections
        self._pools: dict[bytes, httpcore.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the body is read by the caller."""
        url = request.url
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        sent = httpcore.Request(
            request.method,
            target,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translated():
            answer = await self._pool(url.raw_scheme).handle_async_request(sent)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, request.extensions.get("timeout", {}).get("read")),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, scheme: bytes) -> httpcore.AsyncConnectionPool:
        if scheme not in self._pools:
            self._pools[scheme] = httpcore.AsyncConnectionPool(
                ssl_context=_ssl_context(scheme),
                max_connections=self._max_connections,
                max_keepalive_connections=self._max_connections,
                keepalive_expiry=KEEP_ALIVE_S,
                network_backend=self._backend,
            )
        return self._pools[scheme]


def _ssl_context(scheme: bytes) -> ssl.SSLContext:
    """Read the certificates (20 ms) only where they are needed."""
    if scheme == b"https":
        return httpx.create_ssl_context(trust_env=False)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, idle_s: float | None) -> None:
        self._answer = answer
        self._idle_s = idle_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._answer.extensions.get("network_stream")
        length = _length(self._answer)
        with _translated():
            async with contextlib.aclosing(_parts(self._answer)) as parts:
                async for part in parts:
                    yield part
                    if isinstance(stream, Stream) and length > TAKEN_ABOVE_BYTES:
                        left = length - len(part)
                        break
                else:
                    return
                # What came with the headers was in that part; h11 holds nothing any more.
                while left:
                    taken = await stream.take(left, self._idle_s)
                    if not taken:
                        raise httpx.RemoteProtocolError(f"it ends {left:,} bytes too early")
                    left -= len(taken)
                    yield taken  # type: ignore[misc]  # a bytearray that nobody else has

    async def aclose(self) -> None:
        await self._answer.aclose()


async def _parts(answer: httpcore.Response) -> AsyncGenerator[bytes, None]:
    async for part in answer.aiter_stream():
        yield part


def _length(answer: httpcore.Response) -> int:
    """Give the length of a body that is sent as it is, 0 where it is framed otherwise."""
    headers = {name.lower(): value for name, value in answer.headers}
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() and b"transfer-encoding" not in headers else 0


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DownloadError:
        raise
    except Exception as err:
        for theirs, ours in _TRANSLATED:
            if isinstance(err, theirs):
                raise ours(str(err) or type(err).__name__) from err
        raise
