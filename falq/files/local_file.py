"""A local file that is to be uploaded: looked at and hashed before anything is sent."""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from falq.errors import ArgumentsError
from falq.files.content import HEAD_BYTES, UNKNOWN_TYPE, by_suffix, settle
from falq.files.media_fields import plain_path

#: A file is hashed and sent in pieces of this size.
PIECE_BYTES = 256 * 1024
_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "there is no such file",
    errno.EACCES: "it may not be read (permission denied)",
    errno.EPERM: "it may not be read (permission denied)",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ENAMETOOLONG: "the path is too long",
}


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A readable file that is not empty, as it was when it was looked at.

    Attributes:
        path: As the caller gave it, ``~`` expanded.
        name: What fal is told: the base name, harmless characters only.
        content_type: By its bytes, else by its suffix.
    """

    path: str
    name: str
    bytes: int
    content_type: str


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What the bytes of a file are, whole and piece by piece of ``PIECE_BYTES``.

    Attributes:
        sha256: Of the whole, in hex.
        pieces: Digest of each piece.
    """

    sha256: str
    pieces: tuple[bytes, ...]


def look_at(path: str) -> LocalFile:
    """Check that a file can be uploaded; nothing is sent.

    Raises:
        ArgumentsError: It is missing, a directory, no regular file, unreadable or empty.
    """
    file, fd = open_file(path)
    os.close(fd)
    return file


def open_file(path: str) -> tuple[LocalFile, int]:
    """Open a file that is to be uploaded; give what it is and its descriptor.

    Raises:
        ArgumentsError: See :func:`look_at`.
    """
    try:
        expanded = Path(plain_path(path)).expanduser()
        fd = os.open(expanded, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, RuntimeError, ValueError) as err:
        code = err.errno if isinstance(err, OSError) else None
        raise _unfit(path, _REASONS.get(code or 0, str(err))) from err
    try:
        return _described(path, expanded, fd), fd
    except BaseException:
        os.close(fd)
        raise


def _described(path: str, expanded: Path, fd: int) -> LocalFile:
    found = os.fstat(fd)
    if stat.S_ISDIR(found.st_mode):
        raise _unfit(path, "it is a directory, expected a file")
    if not stat.S_ISREG(found.st_mode):
        raise _unfit(path, "it is no regular file")
    head = os.pread(fd, HEAD_BYTES, 0)
    if not head:
        raise _unfit(path, "it is empty")
    return LocalFile(
        path=str(expanded),
        name=_told_name(expanded.name),
        bytes=found.st_size,
        content_type=_content_type(head, expanded.name),
    )


def fingerprint(file: LocalFile, fd: int) -> Fingerprint:
    """Hash an open file, piece by piece, as far as it reached when it was looked at.

    Raises:
        ArgumentsError: It cannot be read.
    """
    whole, pieces = hashlib.sha256(), []
    try:
        for at in range(0, file.bytes, PIECE_BYTES):
            piece = os.pread(fd, min(PIECE_BYTES, file.bytes - at), at)
            whole.update(piece)
            pieces.append(hashlib.sha256(piece).digest())
    except OSError as err:
        raise _unfit(file.path, _REASONS.get(err.errno or 0, str(err))) from err
    return Fingerprint(sha256=whole.hexdigest(), pieces=tuple(pieces))


def _content_type(head: bytes, name: str) -> str:
    suffix = name.rpartition(".")[2]
    guess = by_suffix(suffix)
    announced = guess.content_type if guess else mimetypes.guess_type(name, strict=False)[0]
    return settle(head, announced or UNKNOWN_TYPE, suffix).content_type


def _told_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-120:].lstrip(".") or "file"


def _unfit(path: str, reason: str) -> ArgumentsError:
    return ArgumentsError(f"cannot upload {path!r}: {reason}", "nothing was sent")
