"""A worker's spool: copies of files for callers whose directories are out of its reach.

Each job has a directory of its own there. It goes when the caller has its files, when the
job is forgotten, or when the spool is full and the job is the oldest. One that is written to
is locked (flock, shared): no process of this home removes it meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from falq.errors import OutputError
from falq.files.names import safe_id
from falq.files.output import OutputDirectory
from falq.home import spool_directory
from falq.journal import Journal

#: The spool holds so much at most; the oldest jobs go first.
MAX_SPOOL_BYTES = 2 * 1024 * 1024 * 1024
#: A job that this Redis does not know may be another's; records live so long, seconds.
FORGOTTEN_S = 7 * 86_400
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Spool:
    """The spool of a home, within its bound; all methods but ``grew`` block.

    Args:
        home: Whose spool; other workers may use it as well.
        max_bytes: Its bound.
    """

    def __init__(self, home: Path, max_bytes: int = MAX_SPOOL_BYTES) -> None:
        self.max_bytes = max_bytes
        self._home = home
        self._lock = threading.Lock()
        self._used = 0

    @property
    def path(self) -> Path:
        """The directory; made anew should somebody have removed it."""
        return spool_directory(self._home)

    def open(self, job_id: str, expected_bytes: int) -> OutputDirectory:
        """Open the directory of a job, locked until it is closed, with room for its files.

        Raises:
            OutputError: The files will not fit.
        """
        if expected_bytes > self.max_bytes or safe_id(job_id) != job_id:
            raise OutputError(f"the files of job {job_id!r} do not fit into the spool")
        if self._used + expected_bytes > self.max_bytes:
            self.bound(expected_bytes)
        path = self.path / job_id
        while (fd := _open_locked(path)) is None:
            pass
        return OutputDirectory(str(path), fd)

    def grew(self, by_bytes: int) -> bool:
        """Count what was added; True when ``bound`` is due."""
        with self._lock:
            self._used += by_bytes
            return self._used > self.max_bytes

    def bound(self, room_bytes: int = 0) -> None:
        """Remove the oldest jobs' files until the rest is within the bound, with some room."""
        with self._lock:
            self._used = bound_spool(self.path, self.max_bytes, room_bytes)


def bound_spool(spool: Path, max_bytes: int, room_bytes: int = 0) -> int:
    """Remove the oldest jobs' files until the spool is within its bound; give what is left.

    A job that exceeds the bound alone goes before all others: nothing else would help.
    """
    jobs = [(changed_at, _size(job), job) for changed_at, job in _jobs(spool)]
    used = sum(size for _, size, _ in jobs)
    for _, size, job in sorted(jobs, key=lambda each: (each[1] <= max_bytes, each[0])):
        if used <= max_bytes - room_bytes:
            break
        used -= size if _remove(job) else 0
    return used


def drop_delivered(spool: Path, journal: Journal) -> None:
    """Remove the files of jobs whose callers have their own copies, or that are forgotten."""
    jobs = list(_jobs(spool))
    if not jobs:
        return
    records = journal.read_many([job.name for _, job in jobs])
    delivered = {record.job_id for record in records if record.delivered}
    forgotten_at = time.time() - FORGOTTEN_S
    for changed_at, job in jobs:
        if job.name in delivered or changed_at < forgotten_at:
            _remove(job)


def _jobs(spool: Path) -> list[tuple[float, Path]]:
    """List the jobs' directories with the time of their last change."""
    found = []
    for entry in spool.iterdir():
        try:
            if entry.is_dir() and not entry.is_symlink():
                found.append((entry.stat().st_mtime, entry))
        except FileNotFoundError:
            continue  # another worker of this home was faster
    return found


def _size(job: Path) -> int:
    with contextlib.suppress(FileNotFoundError), os.scandir(job) as entries:
        return sum(_size_of(entry) for entry in entries)
    return 0


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _open_locked(path: Path) -> int | None:
    """Open a job's directory, created when missing; None if it was removed meanwhile."""
    path.mkdir(mode=0o700, exist_ok=True)
    try:
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # without locks, the spool is one worker's alone
        fcntl.flock(fd, fcntl.LOCK_SH)
    if os.fstat(fd).st_nlink:
        return fd
    os.close(fd)
    return None


def _remove(job: Path) -> bool:
    """Remove a job's directory, unless somebody writes there."""
    with contextlib.suppress(OSError), _opened(job) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(job, ignore_errors=True)
        return True
    return False


@contextlib.contextmanager
def _opened(job: Path) -> Iterator[int]:
    fd = os.open(job, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
