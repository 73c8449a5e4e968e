"""How a worker knows that it sees the caller's directory: by a file that the caller left there.

Two machines may have the same path and different disks behind it; a name that nobody could
guess, found in the directory, proves that it is the same one. The file's permissions are
those that the caller's files shall have.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NONCE = re.compile(r"[0-9a-f]{32}")


def _path(directory: str, nonce: str) -> Path:
    return Path(directory) / f".falq-{nonce}"


def leave_nonce(directory: str) -> str:
    """Leave a nonce in a directory, and give it.

    Raises:
        OSError: The directory cannot be written.
    """
    nonce = secrets.token_hex(16)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(_path(directory, nonce), flags, 0o666))
    return nonce


def meet(directory: str, nonce: str | None) -> int | None:
    """Give the permissions for files in the caller's directory; None if it is out of reach.

    It is within reach if the nonce lies there and this process may write beside it.
    """
    if nonce is None or _NONCE.fullmatch(nonce) is None:
        return None
    try:
        found = _path(directory, nonce).lstat()
        writable = os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
    except OSError:
        return None
    if not writable or found.st_size or not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mode & 0o666 | 0o600


def remove_nonce(directory: str, nonce: str | None) -> None:
    """Remove a nonce that is not needed any more; harmless when it is gone or out of sight."""
    if nonce is not None and _NONCE.fullmatch(nonce) is not None:
        with contextlib.suppress(OSError):
            _path(directory, nonce).unlink()


def part_ways(options: Mapping[str, Any]) -> None:
    """Remove the nonce that the options of a job name: nobody saves there any more."""
    output = options.get("output")
    directory = output.get("directory") if isinstance(output, Mapping) else None
    if isinstance(directory, str):
        remove_nonce(directory, options.get("nonce"))
