"""A way to Redis on which replies can be lost and answers changed, chunk by chunk."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

#: Looks at what passes: gives what is handed on, b"" for nothing; None closes the connection.
Look = Callable[[bytes], bytes | None]


def as_it_is(data: bytes) -> bytes:
    """Change nothing."""
    return data


class RedisProxy:
    """Stands on a port of loopback in front of a Redis on a unix socket.

    Args:
        target: The socket of Redis.
        on_reply: Looks at what Redis says.
        answer: Gives what the proxy says instead of asking Redis; b"" asks Redis, None hangs up.
    """

    def __init__(self, target: Path, on_reply: Look = as_it_is, answer: Look = lambda _: b""):
        self._target, self._on_reply, self._answer = str(target), on_reply, answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as redis, client, contextlib.suppress(OSError):
            redis.connect(self._target)
            threading.Thread(target=self._back, args=(redis, client), daemon=True).start()
            while data := client.recv(65536):
                said = self._answer(data)
                if said is None:
                    break
                if said:
                    client.sendall(said)
                else:
                    redis.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def _back(self, redis: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := redis.recv(65536):
                said = self._on_reply(data)
                if said is None:
                    break
                client.sendall(said)
            client.shutdown(socket.SHUT_RDWR)
