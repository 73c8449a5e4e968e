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
from typing import BinaryIO, NamedTuple, Self

from falq.errors import OutputError, UsageError
from falq.files.partial import PartialFile, SharedDescriptor, writing
from falq.files.steps import Steps, finish

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: What file systems without hard links answer (FAT, shared storage of Android).
_NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})
_RESERVE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE_BYTES = 1024 * 1024


#: Says whether the regular file of a name may be replaced.
Replaceable = Callable[[str], bool]


def _never(_name: str) -> bool:
    return False


class SavedBytes(NamedTuple):
    """What was saved under which name."""

    name: str
    bytes: int
    sha256: str


class OutputDirectory:
    """An open directory; a context manager, or ``close`` it.

    Args:
        path: Absolute path, for messages and for the paths that are given back.
        fd: Its descriptor, owned from then on.
        file_mode: Permissions of files in it, and through them of directories below it, for
            a process whose umask is not that of the files' owner; None leaves them to the umask.
    """

    def __init__(self, path: str, fd: int, file_mode: int | None = None) -> None:
        self.path = path
        self._directory = SharedDescriptor(fd)
        self._mode = file_mode

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
        """Close the directory; safe to repeat, and while a thread still works in it."""
        self._directory.close()

    def below(self, name: str) -> OutputDirectory:
        """Open a directory in it, created when missing; a symbolic link is refused.

        Raises:
            OutputError: There is something else of that name.
        """
        path = f"{self.path}/{name}"
        with writing(path), self._directory.held() as fd:
            created = _make_directory(fd, name)
            inner = os.open(name, _DIRECTORY, dir_fd=fd)
            if created and self._mode is not None:
                os.fchmod(inner, self._mode | 0o700 | (self._mode & 0o444) >> 2)
            return OutputDirectory(path, inner, self._mode)

    def partial(self, label: str) -> PartialFile:
        """Begin a file; ``keep`` gives it its name, ``discard`` removes it."""
        with writing(self.path):
            return PartialFile(self._directory, self.path, label, self._mode)

    def keep(
        self, part: PartialFile, names: Iterable[str], replaceable: Replaceable = _never
    ) -> str:
        """Give a partial file the first of ``names`` that it may have, and that name back.

        A name is taken when anything has it, unless that is a regular file with the same
        bytes (which then is the file) or one that may be replaced.
        The file is on disk, fsync included, when this returns.

        Args:
            part: Written to its end.
            names: In order of preference.
            replaceable: Says whether the regular file of a name may go.

        Raises:
            OutputError: Disk trouble, or no name is free.
        """
        return finish(self._keeping(part, names, replaceable))

    def _keeping(
        self, part: PartialFile, names: Iterable[str], replaceable: Replaceable
    ) -> Steps[str]:
        part.sync()
        yield
        with self._directory.held() as fd:
            name = self._name(fd, part, names, replaceable)
            yield
            with writing(self.path):
                os.fsync(fd)
        return name

    def _name(
        self, fd: int, part: PartialFile, names: Iterable[str], replaceable: Replaceable
    ) -> str:
        with writing(self.path):
            for name in names:
                if _place(fd, part, name) or (replaceable(name) and _replace(fd, part, name)):
                    return name
        raise OutputError(f"no free file name in {self.path}")

    def save(
        self, data: bytes, label: str, names: Iterable[str], replaceable: Replaceable = _never
    ) -> SavedBytes:
        """Save a small file under the first free name; see :meth:`keep`.

        Raises:
            OutputError: Disk trouble, or no name is free.
        """
        return finish(self.saving(data, label, names, replaceable))

    def saving(
        self, data: bytes, label: str, names: Iterable[str], replaceable: Replaceable = _never
    ) -> Steps[SavedBytes]:
        """Do the same in steps."""
        part = self.partial(label)
        try:
            part.write(data)
            part.hash(data)
            part.start_sync()
            yield
            name = yield from self._keeping(part, names, replaceable)
        finally:
            part.discard()
        return SavedBytes(name, part.bytes, part.sha256)

    def copy(self, source: str, label: str) -> PartialFile | None:
        """Begin a file with the bytes of another one; None when that cannot be read.

        Raises:
            OutputError: Disk trouble.
        """
        file = open_regular(None, source)
        if file is None:
            return None
        with file:
            part = self.partial(label)
            try:
                while piece := file.read(_PIECE_BYTES):
                    part.write(piece)
                    part.hash(piece)
            except BaseException:
                part.discard()
                raise
        return part

    def read(self, name: str, limit_bytes: int) -> bytes | None:
        """Read a small regular file; None when there is none of that name and size."""
        with self._directory.held() as fd:
            file = open_regular(fd, name)
        if file is None:
            return None
        with file:
            data = file.read(limit_bytes + 1)
        return data if len(data) <= limit_bytes else None

    def digest(self, name: str) -> tuple[int, str] | None:
        """Give size and sha256 of a regular file; None when there is none of that name."""
        with self._directory.held() as fd:
            return _digest(fd, name)

    def has(self, name: str) -> bool:
        """Tell whether anything has a name."""
        with self._directory.held() as fd, contextlib.suppress(FileNotFoundError):
            os.lstat(name, dir_fd=fd)
            return True
        return False

    def names(self) -> list[str]:
        """List what is in the directory, sorted."""
        with writing(self.path), self._directory.held() as fd:
            return sorted(os.listdir(fd))  # noqa: PTH208  # by descriptor


def _place(fd: int, part: PartialFile, name: str) -> bool:
    """Let the file appear under a name that is free or has the same bytes already."""
    if _link(fd, part, name):
        _check_own(fd, part, name)
    elif _digest(fd, name) != (part.bytes, part.sha256):
        return False
    part.discard()
    return True


def _check_own(fd: int, part: PartialFile, name: str) -> None:
    """Take a name back under which not our file appeared but what somebody put in its place."""
    if not part.is_at(fd, name):
        os.unlink(name, dir_fd=fd)
        raise OSError(errno.EIO, f"{part.name} was exchanged while it was written")


def _link(fd: int, part: PartialFile, name: str) -> bool:
    try:
        os.link(part.name, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
        return True
    except FileExistsError:
        return False
    except OSError as err:
        if err.errno not in _NO_LINKS:
            raise
    try:
        os.close(os.open(name, _RESERVE, 0o666, dir_fd=fd))
    except FileExistsError:
        return False
    os.replace(part.name, name, src_dir_fd=fd, dst_dir_fd=fd)
    return True


def _replace(fd: int, part: PartialFile, name: str) -> bool:
    if not stat.S_ISREG(os.lstat(name, dir_fd=fd).st_mode):
        return False
    os.replace(part.name, name, src_dir_fd=fd, dst_dir_fd=fd)
    _check_own(fd, part, name)
    part.close()
    return True


def _make_directory(fd: int, name: str) -> bool:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=fd)
        return True
    return False


def open_regular(directory_fd: int | None, name: str) -> BinaryIO | None:
    """Open a regular file to read it; None for a link and for anything else."""
    try:
        fd = os.open(name, _READ, dir_fd=directory_fd)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb")


def _digest(directory_fd: int, name: str) -> tuple[int, str] | None:
    file = open_regular(directory_fd, name)
    if file is None:
        return None
    with file:
        return hashed(file)


def hashed(file: BinaryIO) -> tuple[int, str]:
    """Give size and sha256 of what is left to read in a file."""
    digest, size = hashlib.sha256(), 0
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def ensure_writable(path: str) -> str:
    """Check, before anything is sent, that files can be saved there; give the absolute path.

    Creates the directory and, for an instant, a hidden file in it.

    Raises:
        UsageError: They cannot.
    """
    try:
        with OutputDirectory.open(path) as directory:
            directory.partial(f"check-{os.getpid()}").discard()
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
