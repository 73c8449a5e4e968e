"""How a worker knows that it sees the caller's directory: by a file that the caller left there.

Two machines may have the same path and different disks behind it; a name that nobody could
guess, found in the directory, proves that it is the same one. The file's permissions are
those that the caller's files shall have.

Every look goes through the opened directory: a path may lead elsewhere a moment later.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falq.files.output import OutputDirectory

_NONCE = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"\.falq-[0-9a-f]{32}")
#: A nonce of a caller that does not come back lies there so long at least, seconds.
STALE_S = 86_400
#: Names that one caller looks at: thousands of calls may share a directory.
_LOOKED_AT = 200
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OutOfReachError(Exception):
    """A directory is not the caller's, or this process may not write there."""


def leave_nonce(directory: str) -> str:
    """Leave a nonce in a directory, and give it.

    Those of this user that are older than a day go: their callers were killed. A job that
    still waits after so long has its files fetched by whoever asks for them.

    Raises:
        OSError: The directory cannot be written.
    """
    nonce = secrets.token_hex(16)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with _opened(directory) as fd:
        os.close(os.open(_name(nonce), flags, 0o666, dir_fd=fd))
        _clear_stale(fd)
    return nonce


def meet(directory: str, nonce: str | None) -> OutputDirectory:
    """Open the caller's directory, with the permissions that the files in it shall have.

    It is within reach if the nonce lies there and this process may write beside it.

    Raises:
        OutOfReachError: It is not.
    """
    from falq.files.output import OutputDirectory, absolute

    if nonce is None or _NONCE.fullmatch(nonce) is None:
        raise OutOfReachError(directory)
    try:
        fd = os.open(directory, _DIRECTORY)
    except (OSError, ValueError) as err:
        raise OutOfReachError(directory) from err
    mode = _mode_wanted(fd, nonce)
    if mode is None:
        os.close(fd)
        raise OutOfReachError(directory)
    return OutputDirectory(absolute(directory), fd, mode)


def remove_nonce(directory: str, *nonces: str | None) -> None:
    """Remove nonces that are not needed any more; harmless when one is gone or out of sight."""
    names = [_name(nonce) for nonce in nonces if nonce is not None and _NONCE.fullmatch(nonce)]
    if not names:
        return
    with contextlib.suppress(OSError, ValueError), _opened(directory) as fd:
        for name in names:
            with contextlib.suppress(OSError):
                if _is_nonce(os.lstat(name, dir_fd=fd)):
                    os.unlink(name, dir_fd=fd)


def part_ways(*options: Mapping[str, Any]) -> None:
    """Remove the nonces that the options of jobs name: nobody saves there any more."""
    nonces: dict[str, list[str | None]] = {}
    for each in options:
        output = each.get("output")
        directory = output.get("directory") if isinstance(output, Mapping) else None
        if isinstance(directory, str):
            nonces.setdefault(directory, []).append(each.get("nonce"))
    for directory, theirs in nonces.items():
        remove_nonce(directory, *theirs)


def _clear_stale(fd: int) -> None:
    stale_at = time.time() - STALE_S
    with contextlib.suppress(OSError), os.scandir(fd) as entries:
        for entry in itertools.islice(entries, _LOOKED_AT):
            found = entry.stat(follow_symlinks=False) if _FILE.fullmatch(entry.name) else None
            ours = found is not None and _is_nonce(found) and found.st_uid == os.geteuid()
            if found is not None and ours and found.st_mtime < stale_at:
                os.unlink(entry.name, dir_fd=fd)


def _name(nonce: str) -> str:
    return f".falq-{nonce}"


def _is_nonce(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and not found.st_size


def _mode_wanted(fd: int, nonce: str) -> int | None:
    """Give the permissions of files beside the nonce; None without it or the right to write."""
    try:
        found = os.lstat(_name(nonce), dir_fd=fd)
        writable = os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True)
    except OSError:
        return None
    return found.st_mode & 0o666 | 0o600 if writable and _is_nonce(found) else None


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    fd = os.open(directory, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
