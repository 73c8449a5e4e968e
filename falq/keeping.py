"""Direct calls that are under way or ended without their files: kept in the home.

Jobs of the queue are in Redis; what a direct call was billed for would otherwise end with its
process. Whoever works on one holds its lock: the kernel frees it when the process ends, so a
record without a holder is abandoned, whoever's pid its process had and on whatever host.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from falq.files.names import safe_id
from falq.home import ensure_home, private_subdirectory
from falq.record import JobRecord

if TYPE_CHECKING:
    from falq.file_lock import FileLock

#: As long as records of the queue, seconds.
KEEP_S = 7 * 86_400
_FIELDS = {each.name for each in fields(JobRecord)}


def keep(home: Path, record: JobRecord) -> None:
    """Keep the record of a call as it stands; what is older than a week goes.

    It is on the disk when this returns.

    Raises:
        ConfigurationError: The home cannot be used.
        OSError: The disk refuses.
    """
    directory = _directory(home)
    forgotten_at = time.time() - KEEP_S
    for old in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if old.stat().st_mtime < forgotten_at:
                old.unlink()
    new = directory / f".{secrets.token_hex(8)}"
    try:
        _write(new, json.dumps(asdict(record)))
        new.replace(directory / record.job_id)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _write(path: Path, text: str) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def find_kept(home: Path, job_id: str) -> JobRecord | None:
    """Find the record of a direct call; None if it is none or has its files."""
    if safe_id(job_id) != job_id or not home.is_dir():
        return None
    try:
        shown = json.loads((_directory(home) / job_id).read_bytes())
    except FileNotFoundError:
        return None
    return JobRecord(**{name: value for name, value in shown.items() if name in _FIELDS})


def kept_records(home: Path) -> list[JobRecord]:
    """Give all records of direct calls; creates nothing."""
    if not os.path.isdir(home / "direct"):  # noqa: PTH112  # a home out of reach has none
        return []
    names = [path.name for path in _directory(home).iterdir() if not path.name.startswith(".")]
    found = [find_kept(home, name) for name in names]
    return [record for record in found if record is not None]


def forget(home: Path, job_id: str) -> None:
    """Drop a record: its caller has everything. A home that is not there stays so.

    The record goes before its lock: whoever gets the lock later finds nothing to go on with.
    """
    with contextlib.suppress(OSError):
        (home / "direct" / job_id).unlink(missing_ok=True)
        _lock_path(home / "direct", job_id).unlink(missing_ok=True)


def lock_of(home: Path, job_id: str) -> FileLock:
    """Give the lock that says that a process works on a direct call; not taken yet.

    Raises:
        ConfigurationError: The home cannot be used.
    """
    from falq.file_lock import FileLock

    return FileLock(_lock_path(_directory(home), job_id))


def _lock_path(directory: Path, job_id: str) -> Path:
    return directory / f".{job_id}.lock"


def _directory(home: Path) -> Path:
    return private_subdirectory(ensure_home(home), "direct")
