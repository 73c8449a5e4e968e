"""Direct calls that are under way or ended without their files: kept in the home.

Jobs of the queue are in Redis; what a direct call was billed for would otherwise end with its
process.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from dataclasses import asdict
from pathlib import Path

from falq.files.names import safe_id
from falq.home import ensure_home, private_subdirectory
from falq.record import JobRecord

#: As long as records of the queue, seconds.
KEEP_S = 7 * 86_400


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
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / record.job_id)


def find_kept(home: Path, job_id: str) -> JobRecord | None:
    """Find the record of a direct call; None if it is none or has its files."""
    if safe_id(job_id) != job_id or not home.is_dir():
        return None
    try:
        shown = json.loads((_directory(home) / job_id).read_bytes())
    except FileNotFoundError:
        return None
    return JobRecord(**shown)


def kept_records(home: Path) -> list[JobRecord]:
    """Give all records of direct calls; creates nothing."""
    if not (home / "direct").is_dir():
        return []
    names = [path.name for path in _directory(home).iterdir() if not path.name.startswith(".")]
    found = [find_kept(home, name) for name in names]
    return [record for record in found if record is not None]


def forget(home: Path, job_id: str) -> None:
    """Drop a record: its caller has everything. A home that is not there stays so."""
    with contextlib.suppress(OSError):
        (home / "direct" / job_id).unlink(missing_ok=True)


def _directory(home: Path) -> Path:
    return private_subdirectory(ensure_home(home), "direct")
