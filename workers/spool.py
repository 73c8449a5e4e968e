"""A worker's spool: copies of files for callers whose directories are out of its reach.

Each job has a directory of its own there. It goes when the caller has its files, when the
job is forgotten, or when the spool is full and the job is the oldest.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from falq.journal import Journal

#: A job that this Redis does not know may be another's; records live so long, seconds.
FORGOTTEN_S = 7 * 86_400


def bound_spool(spool: Path, max_bytes: int) -> None:
    """Remove the oldest jobs' files until the spool is within its bound."""
    jobs = [(changed_at, _size(job), job) for changed_at, job in _jobs(spool)]
    excess = sum(size for _, size, _ in jobs) - max_bytes
    for _, size, job in sorted(jobs):
        if excess <= 0:
            return
        shutil.rmtree(job, ignore_errors=True)
        excess -= size


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
            shutil.rmtree(job, ignore_errors=True)


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
    try:
        return sum(file.stat().st_size for file in job.iterdir() if file.is_file())
    except FileNotFoundError:
        return 0
