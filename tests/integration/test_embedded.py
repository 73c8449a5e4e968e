import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import redis

from falq import embedded, server_binary, server_socket
from falq.embedded import ensure_server, find_server, stop_server
from falq.errors import ConfigurationError, RedisUnavailableError
from falq.home import ensure_home, redis_directory
from falq.server_binary import ServerBinary, find_binary

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI")
    and server_binary._packaged() is None
    and not any(map(shutil.which, server_binary.NAMES)),
    reason="no server program is installed here",
)

ENSURE = """
import sys
from pathlib import Path
from falq.embedded import ensure_server, find_server
ensure_server(Path(sys.argv[1]))
print(find_server(Path(sys.argv[1])).pid)
"""


@pytest.fixture
def new_home():
    """Homes with short names, whose servers end with the test."""
    root = Path(tempfile.mkdtemp(prefix="falq-"))
    homes = []

    def make(name="home"):
        homes.append(root / name)
        return homes[-1]

    yield make
    for home in homes:
        kill(home)
    shutil.rmtree(root)


@pytest.fixture
def home(new_home):
    return new_home()


def kill(home):
    """End the server of a home whatever a test did to it, by the pid it wrote itself."""
    pid_file = home / "redis" / "server.pid"
    if pid_file.exists() and embedded.is_held(home / "redis" / "server.lock"):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        wait_for_end(home)


def wait_for_end(home):
    give_up_at = time.monotonic() + 5
    while embedded.is_held(home / "redis" / "server.lock"):
        assert time.monotonic() < give_up_at
        time.sleep(0.002)


def client(url):
    return redis.Redis.from_url(url)


def test_the_first_one_starts_a_server_and_later_ones_use_it(home):
    url = ensure_server(home)
    pid = find_server(home).pid
    assert url.startswith("unix://")
    assert ensure_server(home) == url
    assert find_server(home).pid == pid


def test_twenty_at_once_get_one_server(home):
    starters = [
        subprocess.Popen([sys.executable, "-c", ENSURE, home], stdout=subprocess.PIPE)
        for _ in range(20)
    ]
    pids = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0] * 20
    assert pids == {f"{find_server(home).pid}\n".encode()}
    assert (home / "redis" / "server.log").read_text().count("Server initialized") == 1


def test_two_homes_have_two_servers(new_home):
    one, other = new_home("one"), new_home("other")
    with client(ensure_server(one)) as first, client(ensure_server(other)) as second:
        first.set("key", "one")
        assert second.get("key") is None
    assert find_server(one).pid != find_server(other).pid


def test_a_server_killed_at_once_is_started_again_with_all_it_acknowledged(home):
    with client(ensure_server(home)) as before:
        for number in range(50):
            before.rpush("list", number)
        killed = find_server(home).pid
        os.kill(killed, signal.SIGKILL)
    with client(ensure_server(home)) as after:
        assert after.llen("list") == 50
    assert find_server(home).pid != killed


def test_it_is_durable_private_and_evicts_nothing(home):
    with client(ensure_server(home)) as server:
        settings = server.config_get("*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["port"] == "0"
    found = find_server(home).socket.stat()
    assert stat.S_IMODE(found.st_mode) == 0o700
    for path in (home / "redis").iterdir():
        assert not path.lstat().st_mode & 0o077 or path.is_file()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_it_takes_neither_key_nor_open_files_with_it(home, monkeypatch):
    monkeypatch.setenv("FAL_KEY", "canary:canary")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    ensure_server(home)
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    process = Path(f"/proc/{find_server(home).pid}")
    assert b"canary" not in (process / "environ").read_bytes()
    assert os.getsid(find_server(home).pid) != os.getsid(0)


def test_stopping_ends_it_and_keeps_the_data(home):
    with client(ensure_server(home)) as server:
        server.set("key", "kept")
    assert stop_server(home) is True
    assert find_server(home) is None
    assert stop_server(home) is False
    with client(ensure_server(home)) as server:
        assert server.get("key") == b"kept"


def test_an_idle_stop_leaves_a_server_that_somebody_uses(home):
    with client(ensure_server(home)) as other:
        other.ping()
        assert stop_server(home, only_if_unused=True) is False
        assert other.ping()
    assert stop_server(home, only_if_unused=True) is True


def test_looking_for_a_server_creates_nothing(home):
    assert find_server(home) is None
    assert stop_server(home) is False
    assert not home.exists()


def test_a_server_that_hangs_is_killed_by_stopping(home, monkeypatch):
    for name in ("STOP_WAIT_S", "KILL_WAIT_S"):
        monkeypatch.setattr(embedded, name, 0.2)
    monkeypatch.setattr(server_socket, "REPLY_WAIT_S", 0.2)
    ensure_server(home)
    os.kill(find_server(home).pid, signal.SIGSTOP)
    assert stop_server(home) is True


def test_a_server_that_hangs_is_not_joined_by_a_second_one(home, monkeypatch):
    monkeypatch.setattr(server_socket, "REPLY_WAIT_S", 0.1)
    ensure_server(home)
    pid = find_server(home).pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(RedisUnavailableError, match="does not answer"):
        ensure_server(home, wait_s=0.3)
    os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    ensure_server(home)
    assert find_server(home).pid == pid


def record(home, **changes):
    path = home / "redis" / "version.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"path": "/other"} | changes))


def test_data_of_a_newer_server_are_refused_and_left_alone(home):
    with client(ensure_server(home)) as server:
        server.set("key", "kept")
    stop_server(home)
    version = list(find_binary().version)
    record(home, version=[99, 0, 0])
    with pytest.raises(ConfigurationError, match=r"99\.0\.0") as caught:
        ensure_server(home)
    assert "99.0.0 or newer" in caught.value.hint
    record(home, version=version)
    with client(ensure_server(home)) as server:
        assert server.get("key") == b"kept"


def test_a_record_of_a_newer_server_without_data_is_no_obstacle(home):
    ensure_server(home)
    stop_server(home)
    record(home, version=[99, 0, 0])
    shutil.rmtree(home / "redis" / "appendonlydir")
    assert ensure_server(home)


def binary(product, *version):
    return ServerBinary("/x", 1, 1.0, product, version)


@pytest.mark.parametrize(
    ("reader", "writer", "may"),
    [
        (binary("valkey", 9, 1, 2), binary("valkey", 9, 1, 2), True),
        (binary("valkey", 9, 2, 0), binary("valkey", 9, 1, 2), True),
        (binary("valkey", 9, 1, 1), binary("valkey", 9, 1, 2), False),
        (binary("valkey", 8, 0, 0), binary("redis", 7, 2, 9), True),
        (binary("valkey", 9, 0, 0), binary("redis", 7, 4, 0), False),
        (binary("redis", 8, 0, 0), binary("valkey", 7, 2, 5), False),
    ],
)
def test_which_server_may_open_whose_data(reader, writer, may):
    assert reader.may_open_data_of(writer) is may


def test_a_long_home_gets_a_short_private_place_for_its_socket(new_home):
    home = new_home("x" * 120)
    with client(ensure_server(home)) as server:
        assert server.ping()
    place = find_server(home).socket
    assert len(os.fsencode(place)) < 100
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert find_server(home).url == ensure_server(home)
    stop_server(home)
    shutil.rmtree(place.parent)


def test_a_short_place_that_others_prepared_is_refused(new_home, monkeypatch, tmp_path):
    home = new_home("x" * 120)
    directory = redis_directory(ensure_home(home))
    trap = embedded._short_directory(directory)
    trap.rmdir()
    trap.symlink_to(tmp_path)
    with pytest.raises(ConfigurationError):
        ensure_server(home)
    trap.unlink()


def test_a_home_with_blanks_and_special_characters_works(new_home):
    with client(ensure_server(new_home("a b#c%20?ü"))) as server:
        assert server.ping()


def test_what_is_no_socket_is_not_removed(home):
    place = redis_directory(ensure_home(home)) / "redis.sock"
    place.write_text("precious")
    with pytest.raises(ConfigurationError, match="no socket of ours"):
        ensure_server(home)
    assert place.read_text() == "precious"


def test_a_socket_that_a_killed_server_left_is_replaced(home):
    directory = redis_directory(ensure_home(home))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "redis.sock"))
    assert ensure_server(home)


def test_an_open_home_is_refused(home):
    home.mkdir()
    home.chmod(0o755)
    with pytest.raises(ConfigurationError, match="open to other users"):
        ensure_server(home)


def test_a_full_disk_is_told_before_anything_starts(home, monkeypatch):
    monkeypatch.setattr(embedded, "MIN_FREE_BYTES", 1 << 62)
    with pytest.raises(RedisUnavailableError, match="is full"):
        ensure_server(home)
    assert find_server(home) is None


def test_a_server_that_cannot_read_its_data_is_told_with_its_own_words(home):
    ensure_server(home)
    stop_server(home)
    for manifest in (home / "redis" / "appendonlydir").glob("*.manifest"):
        manifest.write_text("garbage\n")
    with pytest.raises(RedisUnavailableError, match=r"ended while it started: \S+") as caught:
        ensure_server(home)
    assert "server.log" in caught.value.hint


def test_without_a_server_program_the_remedy_is_told(home, monkeypatch):
    monkeypatch.setattr(server_binary, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="no Redis server") as caught:
        ensure_server(home)
    assert "FALQ_REDIS_URL" in caught.value.hint


def test_a_program_that_is_no_server_is_refused(home, monkeypatch, tmp_path):
    (tmp_path / "redis-server").write_text("#!/bin/sh\necho nonsense\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setattr(server_binary, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="nonsense"):
        ensure_server(home)


def test_a_server_that_still_loads_does_not_answer_yet(tmp_path):
    path = Path(tempfile.mkdtemp(prefix="falq-")) / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        replies = iter([b"-LOADING data\r\n", b"-MISCONF disk\r\n", b"+PONG\r\n"])

        def serve():
            for reply in replies:
                with server.accept()[0] as line:
                    line.recv(100)
                    line.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        assert [server_socket.answers(path) for _ in range(3)] == [False, True, True]
        thread.join()
    shutil.rmtree(path.parent)
