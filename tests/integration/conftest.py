"""A private Redis server for one test session, on a unix socket, empty for each test."""

import functools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from falq.server_binary import find_binary

START_S = 10.0


def start_server(directory: Path) -> subprocess.Popen[bytes]:
    """Start a server without persistence; its socket is ``directory / "s"``."""
    options = {
        "--port": "0", "--unixsocket": str(directory / "s"), "--dir": str(directory),
        "--save": "", "--appendonly": "no", "--maxmemory-policy": "noeviction",
        "--logfile": str(directory / "log"),
    }  # fmt: skip
    command = [find_binary().path, *(part for pair in options.items() for part in pair)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up_at = time.monotonic() + START_S
    while True:
        try:
            with Redis(unix_socket_path=str(directory / "s")) as redis:
                redis.ping()
            return server
        except RedisConnectionError:
            assert server.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < give_up_at
            time.sleep(0.005)


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("r")
    server = start_server(directory)
    yield directory / "s"
    server.terminate()
    server.wait(timeout=10)


@pytest.fixture
def redis_url(redis_socket: Path, redis_client: Redis) -> str:
    return f"unix://{redis_socket}"


@pytest.fixture
def redis_client(redis_socket: Path) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(redis_socket)) as redis:
        redis.flushall()
        yield redis


@pytest.fixture(scope="session")
def certificate_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a function that makes ``key.pem`` and ``cert.pem`` for a host, once."""

    @functools.cache
    def make(host: str) -> Path:
        if shutil.which("openssl") is None:
            pytest.skip("openssl makes the certificate")
        folder = tmp_path_factory.mktemp("tls")
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={host}"
            f" -addext subjectAltName=DNS:{host} -keyout key.pem -out cert.pem"
        )
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
        return folder

    return make
