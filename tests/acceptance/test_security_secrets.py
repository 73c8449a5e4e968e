"""The key and pictures sent as data leave no trace: Redis, logs, command lines, pages, cores."""

import json
import resource
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from redis import Redis
from world import Server, until

CANARY = b"canary-secret"
PASSWORD = "canary-password-7c1d"
PIXELS = "canarypixels" * 40
PICTURE = f"data:image/png;base64,{PIXELS}"
PAGES = ("", "api/state", "metrics", "rq/", "rq/0/view/workers", "rq/0/data/workers.json")
pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")


def command_lines() -> bytes:
    """Give the command line of every process that can be seen."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return b"\n".join(found)


class Watch:
    """Looks at all command lines again and again while something runs."""

    def __init__(self) -> None:
        self.seen = b""
        self.looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            lines = command_lines()
            self.looks += b"falq" in lines
            self.seen += b"".join(line for line in lines.split(b"\n") if b"canary" in line)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def cores_allowed() -> Iterator[None]:
    """Let processes write core files, as far as this machine admits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("no process may write a core file here")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def core_limit_of(pid: int) -> str:
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[4] for line in limits if line.startswith("Max core file size"))


def pages_of(home, job_ids) -> bytes:
    """Start the dashboard and give all that it shows."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dashboard = home.start("dashboard", "--port", str(port))
    url = json.loads(dashboard.stdout.readline())["url"]
    paths = [*PAGES, *(f"rq/0/data/job/{job_id}.json" for job_id in job_ids)]
    shown = b""
    for path in paths:
        with urllib.request.urlopen(url + path) as answer:
            shown += answer.read()
    dashboard.terminate()
    out, err = dashboard.communicate(timeout=10)
    return shown + out.encode() + err.encode()


def dumped(redis: Redis) -> bytes:
    """Give everything that Redis holds, values and all."""
    texts = []
    for key in redis.scan_iter(count=1000):
        kind = redis.type(key)
        readers = {
            b"hash": redis.hgetall, b"string": redis.get, b"set": redis.smembers,
            b"list": lambda k: redis.lrange(k, 0, -1), b"stream": redis.xrange,
            b"zset": lambda k: redis.zrange(k, 0, -1),
        }  # fmt: skip
        texts.append(repr((key, readers.get(kind, redis.get)(key))).encode())
    return b"\n".join(texts)


def test_a_key_and_pictures_sent_as_data_leave_no_trace(new_home):
    home = new_home()
    home.start_worker()
    with Watch() as watch:
        runs = [
            home.call("sandbox/flux/dev", {"prompt": "fine"}),
            home.call("sandbox/flux/dev", {"prompt": 1}),
            home.call("sandbox/flux/image-to-image", {"prompt": "x", "image_url": PICTURE}),
            home.call("sandbox/flux/dev", {"prompt": "direct"}, "--no-queue"),
            home.falq("status"), home.falq("jobs"), home.falq("doctor"), home.falq("metrics"),
        ]  # fmt: skip
    assert [run.code for run in runs] == [0, 3, 0, 0, 0, 0, 0, 0]
    assert watch.looks > 10
    assert CANARY not in watch.seen
    jobs = [each["job_id"] for each in json.loads(home.falq("jobs").out)]
    pages = pages_of(home, jobs)
    assert CANARY not in pages
    assert PIXELS.encode() not in pages
    with Redis(unix_socket_path=str(home.home / "redis" / "redis.sock")) as redis:
        assert CANARY not in dumped(redis)
        redis.save()
    for name, text in home.texts().items():
        assert CANARY not in text, name
        if "redis" not in Path(name).parts:
            assert PIXELS.encode() not in text, name


def test_a_password_of_redis_is_in_no_command_line_log_or_answer(new_home, tmp_path):
    server = Server(tmp_path / "r")
    server.ask("CONFIG", "SET", "requirepass", PASSWORD)
    home = new_home(FALQ_REDIS_URL=f"unix://:{PASSWORD}@{server.socket}")
    try:
        runs = [
            home.falq("up"), home.call("sandbox/flux/dev", {"prompt": "fine"}),
            home.falq("status"), home.falq("doctor"),
        ]  # fmt: skip
        assert [run.code for run in runs] == [0, 0, 0, 0]
        assert PASSWORD.encode() not in command_lines()
        assert PASSWORD not in "".join(run.out + run.err for run in runs)
        server.kill()
        away = home.falq("status")
        assert away.code == 5
        assert PASSWORD not in away.out + away.err
        until(lambda: b"redis" in b"".join(home.texts().values()))
    finally:
        home.falq("down", "--now")
        server.close()
    for name, text in home.texts().items():
        assert PASSWORD.encode() not in text, name


@pytest.mark.usefixtures("cores_allowed")
def test_whoever_holds_the_key_may_not_write_a_core_file(new_home):
    home = new_home()
    slow = {"prompt": "slow", "sandbox_latency": 3.0}
    line = home.call_line("sandbox/flux/dev", slow)
    direct = home.start(*line, "--no-queue")
    caller = home.start(*line, "--fresh")
    worker = until(lambda: json.loads(home.falq("status").out)["worker_pid"])
    for pid in (direct.pid, caller.pid, worker):
        assert core_limit_of(pid) == "0"
    assert [process.wait(timeout=60) for process in (direct, caller)] == [0, 0]


@pytest.mark.usefixtures("cores_allowed")
def test_a_core_file_of_a_worker_is_not_written(new_home, tmp_path):
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith(("|", "/")):
        pytest.skip(f"cores go to {pattern.strip()}")
    home = new_home()
    worker = home.start_worker()
    until(lambda: json.loads(home.falq("status").out)["workers"])
    worker.send_signal(11)
    assert worker.wait(timeout=10) == -11
    assert [path for path in home.root.rglob("core*") if path.is_file()] == []
