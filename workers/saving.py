"""Where a worker saves: in the caller's directory if it sees it, else in its own spool."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from falq.files.download import Downloader
from falq.files.spec import OutputSpec
from falq.home import spool_directory
from falq.journal import Journal
from falq.meeting import remove_nonce, sees
from falq.pipeline import Note, Saved
from falq.record import JobRecord
from falq.saving import LocalSaver, media_policy
from falq.settings import Settings

#: The spool holds so much at most; the oldest jobs go first.
MAX_SPOOL_BYTES = 2 * 1024 * 1024 * 1024


class WorkerSaver:
    """Saves for callers near and far.

    A caller whose directory is out of sight fetches from fal itself; the spool proves what
    was there (sha256), and is bounded.

    Args:
        settings: The worker's.
        home: Holds the spool.
    """

    def __init__(self, settings: Settings, home: Path) -> None:
        self._downloader = Downloader(media_policy(settings))
        self._local = LocalSaver(settings, self._downloader)
        self._spool = spool_directory(home)

    async def save(self, record: JobRecord, logs: Sequence[Mapping[str, Any]], note: Note) -> Saved:
        """Save what is not saved yet; see ``falq.pipeline.Saver``."""
        output = OutputSpec.of(record.options)
        nonce = record.options.get("nonce")
        in_sight = await self._downloader.in_thread(sees, output.directory, nonce)
        if in_sight:
            saved = await self._local.save_to(output, record, logs, note)
            if not saved.failures:
                await self._downloader.in_thread(remove_nonce, output.directory, nonce)
            return saved
        await self._downloader.in_thread(bound_spool, self._spool, MAX_SPOOL_BYTES)
        spooled = replace(output, directory=str(self._spool / record.job_id), output_file=None)
        saved = await self._local.save_to(spooled, record, logs, note)
        return replace(saved, remote=True)

    async def aclose(self) -> None:
        """Close connections and threads."""
        await self._downloader.aclose()


def bound_spool(spool: Path, max_bytes: int) -> None:
    """Remove the oldest jobs' files until the spool is within its bound."""
    jobs = sorted(
        (entry for entry in spool.iterdir() if entry.is_dir() and not entry.is_symlink()),
        key=lambda entry: entry.stat().st_mtime,
    )
    sizes = {job: sum(f.stat().st_size for f in job.iterdir() if f.is_file()) for job in jobs}
    excess = sum(sizes.values()) - max_bytes
    for job in jobs:
        if excess <= 0:
            return
        shutil.rmtree(job, ignore_errors=True)
        excess -= sizes[job]


def drop_delivered(spool: Path, journal: Journal) -> None:
    """Remove the files of jobs whose callers have their own copies, or that are forgotten."""
    spooled = [entry.name for entry in spool.iterdir() if entry.is_dir()]
    kept = {record.job_id for record in journal.read_many(spooled) if not record.delivered}
    for job_id in set(spooled) - kept:
        shutil.rmtree(spool / job_id, ignore_errors=True)
