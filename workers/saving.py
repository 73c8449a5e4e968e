"""Where a worker saves: in the caller's directory if it reaches it, else in its own spool."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from falq.errors import ArtifactError
from falq.files.download import Downloader
from falq.files.spec import OutputSpec
from falq.home import spool_directory
from falq.meeting import OutOfReachError, meet
from falq.pipeline import Note, Saved
from falq.record import JobRecord
from falq.saving import LocalSaver, media_policy
from falq.settings import Settings
from workers.spool import bound_spool

#: The spool holds so much at most; the oldest jobs go first.
MAX_SPOOL_BYTES = 2 * 1024 * 1024 * 1024
#: Its size is looked at so often, not for each job, seconds.
BOUND_S = 10.0


class WorkerSaver:
    """Saves for callers near and far.

    A caller whose directory is out of reach fetches from fal itself; the spool proves what
    was there (sha256), and keeps it for a ``falq result`` on this machine.

    Args:
        settings: The worker's.
        home: Holds the spool.
        downloader: For tests.
    """

    def __init__(
        self, settings: Settings, home: Path, downloader: Downloader | None = None
    ) -> None:
        self._downloader = downloader or Downloader(media_policy(settings))
        self._local = LocalSaver(settings, self._downloader)
        self._spool = spool_directory(home)
        self._bounded_at = float("-inf")

    async def save(self, record: JobRecord, logs: Sequence[Mapping[str, Any]], note: Note) -> Saved:
        """Save what is not saved yet; see ``falq.pipeline.Saver``.

        For a far caller nothing fails here: what becomes of the files is seen where they are
        wanted.
        """
        output = OutputSpec.of(record.options)
        nonce = record.options.get("nonce")
        meeting = partial(meet, output.directory, nonce)
        with contextlib.suppress(OutOfReachError):
            return await self._local.save_to(output, record, logs, note, meeting)
        try:
            return await self._spooled(output, record, note)
        except (ArtifactError, OSError) as error:
            await note({"warning": f"no copy is kept by the worker: {error}"})
            return Saved(remote=True)

    async def _spooled(self, output: OutputSpec, record: JobRecord, note: Note) -> Saved:
        if time.monotonic() - self._bounded_at > BOUND_S:
            self._bounded_at = time.monotonic()
            await self._downloader.in_thread(bound_spool, self._spool, MAX_SPOOL_BYTES)
        inside = replace(
            output,
            directory=str(self._spool / record.job_id),
            output_file=None,
            save_logs=False,
            save_logs_inline=False,
        )
        saved = await self._local.save_to(inside, record, [], note)
        for failure in saved.failures:
            await note({"warning": f"{failure['field']}: {failure['error']}"})
        return Saved(files=saved.files, remote=True)

    async def aclose(self) -> None:
        """Close connections and threads."""
        await self._downloader.aclose()
