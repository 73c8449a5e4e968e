"""Where a worker saves: in the caller's directory if it reaches it, else in its own spool."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from falq.errors import ArtifactError
from falq.files.artifacts import find_artifacts
from falq.files.download import Downloader
from falq.files.spec import OutputSpec
from falq.meeting import OutOfReachError, meet
from falq.pipeline import Note, Saved
from falq.record import JobRecord
from falq.saving import LocalSaver, media_policy
from falq.settings import Settings
from workers.spool import Spool


class WorkerSaver:
    """Saves for callers near and far.

    A caller whose directory is out of reach fetches from fal itself; the spool proves what
    was there (sha256), and keeps it for a ``falq result`` on this machine.

    Args:
        settings: The worker's.
        spool: For the files of far callers.
        downloader: For tests.
    """

    def __init__(
        self, settings: Settings, spool: Spool, downloader: Downloader | None = None
    ) -> None:
        self._downloader = downloader or Downloader(media_policy(settings))
        self._local = LocalSaver(settings, self._downloader)
        self.spool = spool

    async def save(self, record: JobRecord, logs: Sequence[Mapping[str, Any]], note: Note) -> Saved:
        """Save what is not saved yet; see ``falq.pipeline.Saver``.

        For a far caller nothing fails here: what becomes of the files is seen where they are
        wanted.
        """
        output = OutputSpec.of(record.options)
        nonce = record.options.get("nonce")
        meeting = partial(meet, output.directory, nonce)
        with contextlib.suppress(OutOfReachError):
            return await self._local.save_to(output, record, logs, note, opening=meeting)
        try:
            return await self._spooled(output, record, note)
        except (ArtifactError, OSError) as error:
            await note({"warning": f"no copy is kept by the worker: {error}"})
            return Saved(remote=True)

    async def _spooled(self, output: OutputSpec, record: JobRecord, note: Note) -> Saved:
        inside = replace(output, output_file=None, save_logs=False, save_logs_inline=False)
        expected = sum(artifact.size or 0 for artifact in find_artifacts(record.result))
        opening = partial(self.spool.open, record.job_id, expected)
        saved = await self._local.save_to(
            inside, record, [], note, opening=opening, max_job_bytes=self.spool.max_bytes
        )
        if self.spool.grew(sum(file["bytes"] for file in saved.files)):
            await self._downloader.in_thread(self.spool.bound)
        for failure in saved.failures:
            await note({"warning": f"{failure['field']}: {failure['error']}"})
        return Saved(files=saved.files, remote=True)

    async def aclose(self) -> None:
        """Close connections and threads."""
        await self._downloader.aclose()
