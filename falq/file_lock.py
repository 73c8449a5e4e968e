"""Locks between processes of one machine, held by an open file.

The kernel frees them when the last process that has the file open ends, kill -9 included,
so a lock that is held proves that its holder lives. A child that inherits the descriptor
shares the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from falq.errors import ConfigurationError

#: A probe by ``is_held`` takes the lock for microseconds; one refusal is no proof of a holder.
PROBE_S = 0.05
PAUSE_S = 0.002


class FileLock:
    """An exclusive lock on a file that is created 0600 and never removed.

    Removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """The descriptor that holds the lock, to be passed on to a child or written to."""
        if self._fd is None:
            raise RuntimeError(f"{self.path} is not locked")
        return self._fd

    def acquire(self, wait_s: float = PROBE_S) -> bool:
        """Take the lock, waiting for at most ``wait_s``; False if another process keeps it."""
        fd = _open(self.path)
        give_up_at = time.monotonic() + wait_s
        while not _try_lock(fd, fcntl.LOCK_EX):
            if time.monotonic() >= give_up_at:
                os.close(fd)
                return False
            time.sleep(PAUSE_S)
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go; a child that inherited the descriptor keeps the lock until it ends."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock."""
    if not path.exists():
        return False
    fd = _open(path)
    try:
        return not _try_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise ConfigurationError(
            f"{path} cannot be opened: {err.strerror}",
            "check that the disk has room and that you may write there",
        ) from err


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
