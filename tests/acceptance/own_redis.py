"""A Redis that belongs to no home, as machines share one."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from world import until

from falq.server_binary import find_binary


@contextlib.contextmanager
def own_redis() -> Iterator[Path]:
    """Run a server for the length of a ``with`` block, and give its socket."""
    with tempfile.TemporaryDirectory(prefix="falq-") as directory:
        socket = Path(directory) / "s"
        server = subprocess.Popen(
            [find_binary().path, "--port", "0", "--unixsocket", str(socket), "--dir", directory,
             "--save", "", "--maxmemory-policy", "noeviction"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until(lambda: _answers(socket))
            yield socket
        finally:
            server.terminate()
            server.wait()


def _answers(socket: Path) -> bool:
    try:
        with Redis(unix_socket_path=str(socket)) as redis:
            return bool(redis.ping())
    except RedisConnectionError:
        return False
