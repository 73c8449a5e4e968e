"""The directory that files are saved to, held open so that nobody can swap it.

Every step works on the open directory and follows no symbolic link; a file appears under its
name whole or not at all, and never in place of another job's file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from falq.errors import OutputError, UsageError
from falq.files.partial import PartialFile, writing

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: What file systems without hard links answer (FAT, shared storage of Android).
_NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})
_PIECE_BYTES = 1024 * 1024


class OutputDirectory:
    """An open directory; a context manager, or ``close`` it.

    Args:
        path: Absolute path, for messages and for the paths that are given back.
        fd: Its descriptor, owned from then on.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a directory, creating it with its parents.

        A symbolic link to a directory is followed once, here; what it leads to is held open.

        Raises:
            OutputError: It is no directory or cannot be created.
        """
        real = os.path.realpath(path)
        with writing(path):
            Path(real).mkdir(parents=True, exist_ok=True)
            return cls(absolute(path), os.open(real, _DIRECTORY))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory; safe to repeat."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def below(self, name: str) -> OutputDirectory:
        """Open a directory in it, created when missing; a symbolic link is refused.

        Raises:
            OutputError: There is something else of that name.
        """
        path = f"{self.path}/{name}"
        with writing(path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self._fd)
            return OutputDirectory(path, os.open(name, _DIRECTORY, dir_fd=self._fd))

    def partial(self, label: str) -> PartialFile:
        """Begin a file; ``keep`` gives it its name, ``discard`` removes it."""
        return PartialFile(self._fd, self.path, label)

    def keep(
        self, part: PartialFile, names: Iterable[str], replaceable: Callable[[str], bool]
    ) -> str:
        """Give a partial file the first of ``names`` that it may have, and that name back.

        A name is taken when anything has it, unless that is a regular file with the same
        bytes (which then is the file) or one that ``replaceable`` says is the job's own.
        The file is on disk, fsync included, when this returns.

        Raises:
            OutputError: Disk trouble, or no name is free.
        """
        part.sync()
        with writing(self.path):
            for name in names:
                if self._place(part, name, replaceable):
                    os.fsync(self._fd)
                    return name
        raise OutputError(f"no free file name in {self.path}")

    def read(self, name: str, limit_bytes: int) -> bytes | None:
        """Read a small regular file; None when there is none of that name and size."""
        try:
            fd = os.open(name, _READ, dir_fd=self._fd)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            fits = stat.S_ISREG(found.st_mode) and found.st_size <= limit_bytes
            return file.read(limit_bytes) if fits else None

    def digest(self, name: str) -> tuple[int, str] | None:
        """Give size and sha256 of a regular file; None when there is none of that name."""
        try:
            fd = os.open(name, _READ, dir_fd=self._fd)
        except OSError:
            return None
        with os.fdopen(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            digest, size = hashlib.sha256(), 0
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
            return size, digest.hexdigest()

    def names(self) -> list[str]:
        """List what is in the directory, sorted."""
        with writing(self.path):
            return sorted(os.listdir(self._fd))  # noqa: PTH208  # by descriptor

    def special(self, name: str) -> bool:
        """Tell whether a name belongs to something that is no regular file (or a link to one)."""
        try:
            return not stat.S_ISREG(os.lstat(name, dir_fd=self._fd).st_mode)
        except FileNotFoundError:
            return False

    def _place(self, part: PartialFile, name: str, replaceable: Callable[[str], bool]) -> bool:
        if self._link(part, name):
            part.discard()
            return True
        found = None if self.special(name) else self.digest(name)
        if found == (part.bytes, part.sha256):
            part.discard()
            return True
        if found is None or not replaceable(name):
            return False
        self._rename(part, name)
        return True

    def _link(self, part: PartialFile, name: str) -> bool:
        """Let the file appear under a free name; False when it is taken."""
        try:
            os.link(part.name, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            return True
        except FileExistsError:
            return False
        except OSError as err:
            if err.errno not in _NO_LINKS:
                raise
        return self._reserve(part, name)

    def _reserve(self, part: PartialFile, name: str) -> bool:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            os.close(os.open(name, flags, 0o666, dir_fd=self._fd))
        except FileExistsError:
            return False
        self._rename(part, name)
        return True

    def _rename(self, part: PartialFile, name: str) -> None:
        os.replace(part.name, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        part.close()


def ensure_writable(path: str) -> str:
    """Check, before anything is sent, that files can be saved there; give the absolute path.

    Creates the directory and, for an instant, a hidden file in it.

    Raises:
        UsageError: They cannot.
    """
    try:
        with OutputDirectory.open(path) as directory:
            directory.partial(f"falq-check-{os.getpid()}").discard()
    except OutputError as err:
        raise UsageError(err.message, "choose another directory with --output") from err
    return absolute(path)


def absolute(path: str) -> str:
    """Give an absolute path without ``..`` that keeps the caller's own symbolic links."""
    return os.path.abspath(path)  # noqa: PTH100  # Path.resolve follows links


def check_output_file(directory: str, relative: str) -> None:
    """Check, before anything is sent, that ``-O`` names a place for a regular file.

    Raises:
        UsageError: Something else has the name, or a part of the path is no plain directory.
    """
    path = Path(directory).resolve()
    *parents, name = relative.split("/")
    for part in parents:
        path /= part
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise UsageError(f"--output-file {relative!r}: {path} is no plain directory")
    path /= name
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"--output-file {relative!r}: {path} is there and no regular file")
