"""Processes of ours that outlive their starter: at most one of a kind per home."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from falq.errors import ConfigurationError, FalqError
from falq.file_lock import FileLock, is_held
from falq.home import run_directory

LOG_MODE = 0o600
#: A log that outgrew this is put aside at the next start; one older log is kept.
MAX_LOG_BYTES = 5 * 1024 * 1024
#: Between taking the lock and writing the pid lie microseconds.
PID_WAIT_S = 0.5
PAUSE_S = 0.002
#: Starts the program as an orphan, so that nobody has to wait for it, and tells its pid.
_LAUNCHER = '"$@" >&2 & echo $!'


class AlreadyRunningError(ConfigurationError):
    """Another process of the same kind runs for this home; ``detail`` is its pid."""


class SingleInstance:
    """The right to be the only process of a name in a home, held until the process ends.

    A killed holder loses it at once. Children do not inherit it.

        with SingleInstance(home, "worker"):
            ...

    Raises:
        AlreadyRunningError: On entering, if another process holds it.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self._lock = FileLock(run_directory(home) / f"{name}.lock")

    def acquire(self) -> bool:
        """Become the one; False if another process is."""
        if not self._lock.acquire():
            return False
        text = json.dumps({"pid": os.getpid(), "started_at": time.time()}).encode()
        os.ftruncate(self._lock.fd, 0)
        os.pwrite(self._lock.fd, text, 0)
        return True

    def release(self) -> None:
        """Give the right back; harmless when it is not held."""
        self._lock.release()

    def __enter__(self) -> Self:
        if not self.acquire():
            pid = _read_pid(self._lock.path)
            raise AlreadyRunningError(
                f"falq {self.name} already runs for this home (pid {pid})",
                "falq down stops it",
                detail=pid,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def find_instance(home: Path, name: str) -> int | None:
    """Give the pid of the process that is the one of a name, or None.

    Creates nothing. A pid that is given lived a moment ago and was the holder: a stale
    file does not mislead.
    """
    path = home / "run" / f"{name}.lock"
    give_up_at = time.monotonic() + PID_WAIT_S
    while is_held(path):
        pid = _read_pid(path)
        if pid is not None or time.monotonic() >= give_up_at:
            return pid
        time.sleep(PAUSE_S)
    return None


def _read_pid(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def spawn_detached(argv: Sequence[str], log_path: Path, env: Mapping[str, str]) -> int:
    """Start a program that outlives us, in a session of its own, and give its pid.

    It keeps no file, pipe or terminal of ours open: an agent that waits for our output to
    end does not wait for it. What it prints goes to the log (0600). It works in the log's
    directory, so paths in ``argv`` and ``env`` have to be absolute. Whether it came up
    shows in ``find_instance``; this only starts it.

    Args:
        argv: Program and arguments; other users can read them, so no secret belongs here.
        log_path: Appended to; its directory is there.
        env: The whole environment, the key in it.

    Raises:
        FalqError: It could not be started.
    """
    import subprocess

    try:
        _put_aside(log_path)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, LOG_MODE)
    except OSError as err:
        raise ConfigurationError(f"{log_path} cannot be written: {err.strerror}") from err
    try:
        launched = subprocess.run(
            ["sh", "-c", _LAUNCHER, "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=dict(env),
            cwd=log_path.parent,
            start_new_session=True,
            umask=0o077,
            check=True,
        )
        return int(launched.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as err:
        raise FalqError(f"{argv[0]} could not be started: {err}", f"see {log_path}") from err
    finally:
        os.close(log)


def _put_aside(log_path: Path) -> None:
    if log_path.exists() and log_path.stat().st_size > MAX_LOG_BYTES:
        log_path.replace(log_path.with_name(f"{log_path.name}.1"))
