"""Saves a job's artifacts for the pipeline and for callers who fetch their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from falq.files.artifacts import SavedFile
from falq.files.download import Downloader
from falq.files.places import Opening
from falq.files.policy import MediaPolicy
from falq.files.save import save_result
from falq.files.sidecar import JobFacts
from falq.files.spec import OutputSpec
from falq.pipeline import Note, Saved
from falq.record import JobRecord
from falq.settings import Settings

#: How far a download has come is told so often, seconds; quick ones pass unmentioned.
TELL_EVERY_S = 0.5


def media_policy(settings: Settings) -> MediaPolicy:
    """Give what may be fetched: public https, or the sandbox that the settings name."""
    return MediaPolicy(allowed_origin=settings.fal_url)


class LocalSaver:
    """Saves into the directory that the job names.

    Args:
        settings: Whether fal is a sandbox.
        downloader: Shared by all jobs of the process.
    """

    def __init__(self, settings: Settings, downloader: Downloader) -> None:
        self._sandbox = settings.sandbox
        self._deadline_s = settings.download_timeout_s
        self._downloader = downloader

    async def save(self, record: JobRecord, logs: Sequence[Mapping[str, Any]], note: Note) -> Saved:
        """Save what is not saved yet; see ``falq.pipeline.Saver``."""
        return await self.save_to(OutputSpec.of(record.options), record, logs, note)

    async def save_to(
        self,
        output: OutputSpec,
        record: JobRecord,
        logs: Sequence[Mapping[str, Any]],
        note: Note,
        *,
        opening: Opening | None = None,
        max_job_bytes: int | None = None,
    ) -> Saved:
        """Save into a directory of the caller's choice; see ``save_result``."""
        async with _told(note) as progress:
            saved = await save_result(
                record.result,
                downloader=self._downloader,
                output=output,
                job=facts_of(record, sandbox=self._sandbox),
                logs=logs,
                known=known_files(record),
                deadline_s=self._deadline_s,
                opening=opening,
                max_job_bytes=max_job_bytes,
                on_progress=progress,
            )
        for warning in (*saved.warnings, *_without_logs(output, record, logs)):
            await note({"warning": warning})
        files = [file.to_dict() for file in saved.files]
        return Saved(files=files, failures=saved.failures, log_path=saved.log_path)


def _without_logs(
    output: OutputSpec, record: JobRecord, logs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Say why there is no file of logs though one is wanted."""
    if logs or not (output.save_logs or output.save_logs_inline):
        return []
    if record.mode == "sync":
        return ["no logs are saved: fal's sync API gives none; --no-sync-only brings them"]
    return ["no logs are saved: the model wrote none"]


@dataclass
class _Progress:
    """Tells of the download that was heard of last, now and then; several take turns."""

    note: Note
    latest: dict[str, Any] | None = None
    telling: asyncio.Task[None] | None = None

    def __call__(self, field: str, done: int, total: int | None) -> None:
        self.latest = {"download": field, "bytes": done, "of": total}
        self.telling = self.telling or asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        told = None
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            if self.latest is not None and self.latest != told:
                told = self.latest
                await self.note(told)

    async def end(self) -> None:
        if self.telling is not None:
            self.telling.cancel()
            await asyncio.gather(self.telling, return_exceptions=True)


@contextlib.asynccontextmanager
async def _told(note: Note) -> AsyncIterator[_Progress]:
    """Tell those who watch how far downloads have come, for the length of a ``with``."""
    progress = _Progress(note)
    try:
        yield progress
    finally:
        await progress.end()


def facts_of(record: JobRecord, *, sandbox: bool) -> JobFacts:
    """Give what a sidecar says about a job."""
    return JobFacts(
        job_id=record.job_id,
        model_id=record.model_id,
        arguments=record.arguments,
        request_id=record.request_id,
        billable_units=record.billable_units,
        created_at=record.created_at,
        sandbox=sandbox,
    )


def known_files(record: JobRecord) -> list[SavedFile]:
    """Give the files that an earlier saving of the job left, here or on another machine."""
    files = (record.outcome or {}).get("files") or []
    return [SavedFile.from_dict(dict(file)) for file in files]
