import json
import os
import signal
import subprocess
import sys
import time

import pytest

from falq.background import AlreadyRunningError, SingleInstance, find_instance, spawn_detached
from falq.errors import ConfigurationError
from falq.home import ensure_home, log_directory

HOLD = """
import sys, time
from pathlib import Path
from falq.background import SingleInstance
with SingleInstance(Path(sys.argv[1]), "worker"):
    print("held", flush=True)
    time.sleep(60)
"""
TELL = """
import json, os, sys
print(json.dumps({
    "pid": os.getpid(), "sid": os.getsid(0), "ppid": os.getppid(), "cwd": os.getcwd(),
    "key": os.environ.get("FAL_KEY"), "argv": sys.argv[1:], "stdin": sys.stdin.read(),
    "open": sorted(map(int, os.listdir("/proc/self/fd"))) if os.path.isdir("/proc/self/fd") else [],
}), flush=True)
"""


@pytest.fixture
def home(tmp_path):
    return ensure_home(tmp_path / "home")


@pytest.fixture
def holder(home):
    process = subprocess.Popen([sys.executable, "-c", HOLD, home], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def wait_for(find, wait_s=10.0):
    give_up_at = time.monotonic() + wait_s
    while not (found := find()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    return found


def tell(log, *arguments, **environ):
    environ = {"PATH": os.environ["PATH"]} | environ
    pid = spawn_detached([sys.executable, "-c", TELL, *arguments], log, environ)
    return pid, json.loads(wait_for(lambda: log.exists() and log.read_text()))


def test_the_second_of_a_name_is_refused_and_told_who_is_first(home, holder):
    with pytest.raises(AlreadyRunningError, match=str(holder.pid)) as caught:
        SingleInstance(home, "worker").__enter__()
    assert caught.value.detail == holder.pid
    assert find_instance(home, "worker") == holder.pid


def test_other_names_and_other_homes_are_free(home, holder, tmp_path):
    with SingleInstance(home, "dashboard"), SingleInstance(ensure_home(tmp_path / "b"), "worker"):
        assert find_instance(home, "dashboard") == os.getpid()


def test_a_killed_holder_loses_its_right_at_once(home, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert find_instance(home, "worker") is None
    with SingleInstance(home, "worker"):
        assert find_instance(home, "worker") == os.getpid()
    assert find_instance(home, "worker") is None


def test_looking_creates_nothing(home):
    assert find_instance(home, "worker") is None
    assert list(home.iterdir()) == []


def test_a_detached_process_has_a_session_of_its_own_and_another_parent(home):
    pid, told = tell(log_directory(home) / "worker.log")
    assert told["pid"] == pid
    assert told["sid"] != os.getsid(0)
    assert told["ppid"] != os.getpid()
    assert told["stdin"] == ""
    assert told["cwd"] == str(log_directory(home))


def test_a_detached_process_gets_its_arguments_unharmed(home):
    arguments = ["a b", "$HOME", "'", '"; exit 1; "', ""]
    _, told = tell(log_directory(home) / "worker.log", *arguments)
    assert told["argv"] == arguments


def test_a_detached_process_inherits_only_what_is_given(home, monkeypatch):
    monkeypatch.setenv("FAL_KEY", "ours:ours")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    _, told = tell(log_directory(home) / "worker.log", FAL_KEY="its:own")
    os.close(writer)
    os.close(reader)
    assert told["key"] == "its:own"
    assert set(told["open"]) <= {0, 1, 2, 3}


def test_the_log_is_private_appended_to_and_put_aside_when_large(home, monkeypatch):
    log = log_directory(home) / "worker.log"
    log.write_text("x" * 100 + "\n")
    monkeypatch.setattr("falq.background.MAX_LOG_BYTES", 10)
    tell(log)
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.with_name("worker.log.1").read_text().startswith("xxx")


def test_a_log_that_cannot_be_written_is_told(home):
    with pytest.raises(ConfigurationError, match="cannot be written"):
        spawn_detached(["true"], home / "nowhere" / "worker.log", {})


def test_a_link_in_place_of_the_log_is_not_followed(home, tmp_path):
    log = log_directory(home) / "worker.log"
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        spawn_detached(["true"], log, {})
    assert not (tmp_path / "elsewhere").exists()
