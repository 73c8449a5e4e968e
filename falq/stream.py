"""A network stream for httpcore, straight on asyncio's transports.

httpcore's own streams go through a layer for several event loops, which costs as much as the
small exchanges of a job themselves. They give 64 KiB at a time, and each piece goes through
h11's buffer: for large bodies that costs more than receiving, hashing and writing together.
Here the socket (or the TLS layer) writes into a buffer, and whoever reads a body of known
length takes the whole buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any, Self

import httpcore

#: The buffer of a stream from which a large body is taken.
BUFFER_BYTES = 1024 * 1024
#: The buffer until then: bytearray(n) touches all of its memory, and streams are many.
START_BYTES = 64 * 1024
#: The next address of a host is tried when one has not answered for so long, seconds
#: (RFC 8305).
_NEXT_ADDRESS_S = 0.25
#: Less than this is copied out of the buffer instead of giving the buffer away.
_COPIED_BYTES = 128 * 1024


class _Receiver(asyncio.BufferedProtocol):
    """Fills a buffer, and stops the transport while it is full."""

    def __init__(self, buffer_bytes: int) -> None:
        self.transport: asyncio.Transport | None = None
        self.filled = 0
        self.ended = False
        self.failure: Exception | None = None
        self._buffer = bytearray(min(START_BYTES, buffer_bytes))
        self._whole_bytes = buffer_bytes
        self._wanted = 1
        self._reader: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """Bytes that it can hold."""
        return len(self._buffer)

    def grow(self) -> None:
        """Make room for a large body."""
        if self.size < self._whole_bytes:
            given, self._buffer = self._buffer, bytearray(self._whole_bytes)
            self._buffer[: self.filled] = given[: self.filled]
            if self.transport is not None and not self.ended:
                self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is one

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        return memoryview(self._buffer)[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self.filled += nbytes
        if self.filled == self.size and self.transport is not None:
            self.transport.pause_reading()
        if self.filled >= self._wanted:
            self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.failure = exc
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    @property
    def must_drain(self) -> bool:
        """Whether the other side does not take what is written."""
        return self._drained is not None

    async def drain(self) -> None:
        if self._drained is not None:
            await self._drained

    async def wait(self, wanted: int, timeout_s: float | None) -> None:
        """Wait for so many bytes or the end; the timeout is of silence, not of the whole."""
        while self.filled < wanted and not self.ended:
            before = self.filled
            self._wanted = wanted
            self._reader = asyncio.get_running_loop().create_future()
            try:
                if timeout_s is None:
                    await self._reader
                    continue
                async with asyncio.timeout(timeout_s):
                    await self._reader
            except TimeoutError:
                if self.filled == before:
                    raise
            finally:
                self._reader = None

    def take(self, most: int) -> bytearray:
        """Give the bytes received so far, ``most`` at most."""
        if _COPIED_BYTES < self.filled <= most:
            given, self._buffer = self._buffer, bytearray(self.size)
            del given[self.filled :]
            self.filled = 0
        else:
            size = min(most, self.filled)
            given = self._buffer[:size]
            left = self.filled - size
            self._buffer[:left] = self._buffer[size : self.filled]
            self.filled = left
        if self.transport is not None and not self.ended:
            self.transport.resume_reading()
        return given

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Stream(httpcore.AsyncNetworkStream):
    """A TCP or TLS connection of the running event loop."""

    def __init__(self, transport: asyncio.Transport, receiver: _Receiver) -> None:
        self._transport = transport
        self._receiver = receiver

    @classmethod
    async def connect(
        cls, host: str, port: int, timeout_s: float | None, buffer_bytes: int = BUFFER_BYTES
    ) -> Self:
        """Open a connection to an address, or to the first address of a name that answers.

        Raises:
            httpcore.ConnectError: Nobody answers there.
        """
        loop = asyncio.get_running_loop()
        with _translated(httpcore.ConnectError, httpcore.ConnectTimeout):
            async with asyncio.timeout(timeout_s):
                transport, receiver = await loop.create_connection(
                    partial(_Receiver, buffer_bytes),
                    host,
                    port,
                    happy_eyeballs_delay=None if is_address(host) else _NEXT_ADDRESS_S,
                )
        return cls(transport, receiver)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Give what has come, nothing at the end of the stream."""
        return bytes(await self._received(max_bytes, 1, timeout))

    async def take(self, left: int, timeout: float | None = None) -> bytearray:
        """Give a full buffer, or as much as is ``left`` of the body; nothing at the end."""
        self._receiver.grow()
        return await self._received(left, min(left, self._receiver.size), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes, waiting while the other side does not take them."""
        if not buffer:
            return
        with _translated(httpcore.WriteError, httpcore.WriteTimeout):
            if self._transport.is_closing():
                raise ConnectionResetError("the connection is closed")
            self._transport.write(buffer)
            if self._receiver.must_drain:
                async with asyncio.timeout(timeout):
                    await self._receiver.drain()

    async def aclose(self) -> None:
        """Close the connection at once."""
        self._transport.abort()
        await asyncio.sleep(0)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Go on under TLS; the certificate must be that of ``server_hostname``."""
        loop = asyncio.get_running_loop()
        try:
            with _translated(httpcore.ConnectError, httpcore.ConnectTimeout):
                async with asyncio.timeout(timeout):
                    transport = await loop.start_tls(
                        self._transport,
                        self._receiver,
                        ssl_context,
                        server_hostname=server_hostname,
                    )
        except BaseException:
            await self.aclose()
            raise
        if transport is None:
            raise httpcore.ConnectError("the connection ended during the TLS handshake")
        self._receiver.transport = transport
        return Stream(transport, self._receiver)

    def get_extra_info(self, info: str) -> Any:
        """Answer httpcore's questions about the connection."""
        if info == "is_readable":
            idle = self._receiver.filled == 0 and not self._receiver.ended
            return not idle or self._transport.is_closing()
        return self._transport.get_extra_info(info)

    async def _received(self, most: int, wanted: int, timeout_s: float | None) -> bytearray:
        with _translated(httpcore.ReadError, httpcore.ReadTimeout):
            await self._receiver.wait(wanted, timeout_s)
            if self._receiver.filled == 0 and self._receiver.failure is not None:
                raise self._receiver.failure
        return self._receiver.take(most)


class Network(httpcore.AsyncNetworkBackend):
    """Opens streams for httpcore.

    Args:
        buffer_bytes: Of each stream.
    """

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._buffer_bytes = buffer_bytes

    async def connect(self, host: str, port: int, timeout_s: float | None) -> Stream:
        """Open a stream; see :meth:`Stream.connect`."""
        return await Stream.connect(host, port, timeout_s, self._buffer_bytes)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  # httpcore's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002  # httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Open a stream, as httpcore asks for it."""
        return await self.connect(host, port, timeout)

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's own retries, which are not used."""
        await asyncio.sleep(seconds)


@lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Tell an address from a name.

    >>> is_address("127.0.0.1"), is_address("::1"), is_address("queue.fal.run")
    (True, True, False)
    """
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def _translated(broken: type[Exception], late: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as err:
        raise late("no answer in time") from err
    except OSError as err:
        raise broken(str(err) or type(err).__name__) from err
