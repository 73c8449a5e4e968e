"""How a worker knows that it sees the caller's directory: by a file that the caller left there.

Two machines may have the same path and different disks behind it; a name that nobody could
guess, found in the directory, proves that it is the same one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

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
    os.close(os.open(_path(directory, nonce), flags, 0o600))
    return nonce


def sees(directory: str, nonce: str | None) -> bool:
    """Tell whether this process sees the directory in which the nonce was left."""
    if nonce is None or _NONCE.fullmatch(nonce) is None:
        return False
    try:
        found = _path(directory, nonce).lstat()
    except OSError:
        return False
    return found.st_size == 0


def remove_nonce(directory: str, nonce: str | None) -> None:
    """Remove a nonce that is not needed any more; harmless when it is gone."""
    if nonce is not None and _NONCE.fullmatch(nonce) is not None:
        with contextlib.suppress(OSError):
            _path(directory, nonce).unlink()
