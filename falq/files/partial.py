"""A file that is being written: hidden, locked, hashed on the way, gone unless it is kept."""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import hashlib
import os
import secrets
import socket
import stat
import threading
from collections.abc import Iterator

from falq.errors import OutputError
from falq.files.content import HEAD_BYTES

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REASONS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EFBIG: "the file system takes no file of this size",
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "it is a symbolic link",
    errno.ENOTDIR: "a part of the path is no directory",
    errno.ENAMETOOLONG: "the name is too long",
}


class Lock(enum.Enum):
    """What came of locking a file; some file systems of a network know no locks."""

    OURS = enum.auto()
    BUSY = enum.auto()
    UNSUPPORTED = enum.auto()


class SharedDescriptor:
    """A descriptor that is closed once its owner has closed it and nobody uses it any more.

    A thread that works in a directory is not led elsewhere by the number of a descriptor that
    was closed meanwhile and given to something else.

    Args:
        fd: Owned from then on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False

    def take(self) -> int:
        """Give the descriptor, which stays open until it is given back.

        Raises:
            OSError: Its owner has closed it.
        """
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._users += 1
            return self._fd

    def give_back(self) -> None:
        """Use it no more."""
        with self._lock:
            self._users -= 1
            self._close_if_unused()

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Use it for the length of a ``with``."""
        fd = self.take()
        try:
            yield fd
        finally:
            self.give_back()

    def close(self) -> None:
        """Let nobody else take it; safe to repeat."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and not self._users:
            os.close(self._fd)


class PartialFile:
    """A temporary file in the directory where it is to stay.

    Safe between threads: ``discard`` waits for a write that is under way, so a cancelled
    download never writes to a descriptor that already belongs to somebody else.

    Args:
        directory: The open directory; it stays open as long as the file does.
        path: Its path, for messages.
        label: A job's id and which of its files this is: makes the name, so that a job that is
            taken up again finds and replaces what its killed predecessor left. A name that
            anybody else might give a file would have that file removed.
        mode: Permissions; None leaves them to the umask.
    """

    def __init__(
        self, directory: SharedDescriptor, path: str, label: str, mode: int | None = None
    ) -> None:
        self._directory = directory
        self._path = path
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._fd: int | None = None
        self.head = b""
        self.bytes = 0
        self._directory_fd = directory.take()
        try:
            with writing(path):
                self.name, self._fd, self._created = _create(self._directory_fd, label)
        except BaseException:
            directory.give_back()
            raise
        if mode is not None and stat.S_IMODE(self._created.st_mode) != mode:
            self._permit(self._fd, mode)

    def _permit(self, fd: int, mode: int) -> None:
        try:
            with writing(self._path):
                os.fchmod(fd, mode)
        except BaseException:
            self.discard()
            raise

    @property
    def sha256(self) -> str:
        """Hash of all that was written, in hex."""
        return self._digest.hexdigest()

    @property
    def closed(self) -> bool:
        """Whether the file has been kept or discarded."""
        return self._fd is None

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes; :meth:`hash` is told them separately, in the same order.

        Raises:
            OutputError: The disk is full or refuses; the file is of no use then.
        """
        with self._lock, writing(self._path):
            if self._fd is None:
                raise ValueError("the partial file is closed")
            if len(self.head) < HEAD_BYTES:
                self.head += data[: HEAD_BYTES - len(self.head)]
            self.bytes += len(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def hash(self, data: bytes | bytearray) -> None:
        """Hash bytes, in a thread of its own while they are written."""
        self._digest.update(data)

    def start_sync(self) -> None:
        """Let the system begin to bring a small file to the disk, without waiting.

        It keeps nothing of it in memory then, which a large file would miss.
        """
        with self._lock, contextlib.suppress(OSError):
            if self._fd is not None and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Bring everything to the disk."""
        with self._lock, writing(self._path):
            if self._fd is not None:
                os.fsync(self._fd)

    def is_at(self, directory_fd: int, name: str) -> bool:
        """Tell whether a name leads to this very file."""
        found = os.lstat(name, dir_fd=directory_fd)
        return not self.closed and os.path.samestat(found, self._created)

    def close(self) -> None:
        """Close and unlock the file and leave it where it is; safe to repeat."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._directory.give_back()
                self._fd = None

    def discard(self) -> None:
        """Remove the file if it still has its temporary name; safe to repeat."""
        with self._lock:
            if self._fd is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self.name, dir_fd=self._directory_fd)
        self.close()


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what the system says about a place to write into an OutputError."""
    try:
        yield
    except OSError as err:
        reason = _REASONS.get(err.errno or 0, err.strerror or str(err))
        message = f"cannot write to {path}: {reason} on {socket.gethostname()}"
        raise OutputError(message) from err


def _create(directory_fd: int, label: str) -> tuple[str, int, os.stat_result]:
    for suffix in _suffixes():
        name = f".falq-{label}{suffix}.part"
        for _ in range(3):
            opened = _open_locked(directory_fd, name)
            if opened is not None:
                return name, *opened
            if not _remove_stale(directory_fd, name):
                break
    raise FileExistsError(errno.EEXIST, "no free temporary name")


def _suffixes() -> Iterator[str]:
    yield ""
    yield f"-{secrets.token_hex(4)}"


def _open_locked(directory_fd: int, name: str) -> tuple[int, os.stat_result] | None:
    try:
        fd = os.open(name, _FLAGS, 0o666, dir_fd=directory_fd)
    except FileExistsError:
        return None
    # Between creation and lock another process may have taken the file for an abandoned one;
    # not where there are no locks: nobody removes anything there.
    if _lock(fd) is not Lock.BUSY and (created := os.fstat(fd)).st_nlink > 0:
        return fd, created
    os.close(fd)
    return None


def _remove_stale(directory_fd: int, name: str) -> bool:
    """Remove what a killed process left; False when its writer lives or nobody can tell."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory_fd)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or _lock(fd) is not Lock.OURS:
            return False
        # Its writer may have ended since it was opened, and the name be another's by now.
        if os.path.samestat(os.fstat(fd), os.lstat(name, dir_fd=directory_fd)):
            os.unlink(name, dir_fd=directory_fd)
        return True
    except FileNotFoundError:
        return True
    finally:
        os.close(fd)


def _lock(fd: int) -> Lock:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.BUSY
    except OSError:
        return Lock.UNSUPPORTED
    return Lock.OURS
