"""The artifacts of a result, its logs and sidecars, saved where the caller wants them.

A result without any artifact (text, transcription) is saved itself, as ``<name>.json``, so
that every finished call has a file to show.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from falq.errors import ArtifactError, DownloadError, OutputError
from falq.files.artifacts import (
    Artifact,
    SavedFile,
    find_artifacts,
    is_data_uri,
    shown_url,
)
from falq.files.download import Downloader
from falq.files.logs import render_logs
from falq.files.names import (
    NamePlan,
    plan_names,
    plan_output_file,
    plan_stamped,
    safe_id,
    stem_of,
)
from falq.files.output import OutputDirectory
from falq.files.places import (
    Opening,
    Places,
    copy_file,
    is_anothers,
    open_places,
    own_files,
    put_log,
    put_sidecar,
)
from falq.files.sidecar import JobFacts, sidecar_name, write_sidecar
from falq.files.spec import OutputSpec
from falq.files.steps import Steps

#: Told the artifact's field, its bytes so far and in all (None while unknown).
FileProgress = Callable[[str, int, int | None], None]
#: Files of one job that are fetched at once.
PARALLEL_FILES = 4
#: Files of one job; a longer list is an attack or a mistake.
MAX_FILES = 1000
#: Seconds for one file, all attempts together.
FILE_DEADLINE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class SavedFiles:
    """What became of a result's artifacts.

    Attributes:
        files: Those on disk, in the result's order.
        failures: ``{field, url, type, error, retryable}`` of the others.
        log_path: Where the logs are, if they were wanted.
        warnings: What went wrong with logs and sidecars; the files are there all the same.
    """

    files: tuple[SavedFile, ...] = ()
    failures: tuple[dict[str, Any], ...] = ()
    log_path: str | None = None
    warnings: tuple[str, ...] = ()


async def save_result(
    result: Any,
    *,
    downloader: Downloader,
    output: OutputSpec,
    job: JobFacts,
    logs: Sequence[Mapping[str, Any]] = (),
    known: Sequence[SavedFile] = (),
    deadline_s: float = FILE_DEADLINE_S,
    opening: Opening | None = None,
    max_job_bytes: int | None = None,
    on_progress: FileProgress | None = None,
) -> SavedFiles:
    """Save every artifact of a result; what is on disk already is not fetched again.

    Safe to repeat, and costs nothing: a second time only the missing files are fetched. One
    file that fails does not stop the others.

    Args:
        result: Fal's JSON.
        downloader: Shared by all jobs of the process.
        output: Where to; created when missing.
        job: Whose result it is.
        logs: The model's log lines, for ``save_logs`` and ``save_logs_inline``.
        known: Files of an earlier time, beside those that the sidecars tell of. One that is
            still there, in whatever directory, is copied and not fetched; one that is fetched
            must have the same bytes.
        deadline_s: Seconds for each file.
        opening: Opens the output directory; by its path, if nothing else is said.
        max_job_bytes: Size of all files together, if less than the policy's.
        on_progress: Called on the event loop.

    Raises:
        OutputError: The directory cannot be opened; nothing was saved. What ``opening``
            raises comes through as it is.
    """
    opening = opening or partial(OutputDirectory.open, output.directory)
    found = find_artifacts(result)
    async with downloader.results:
        if not found:
            steps = _saving_itself(result, opening, output, job, logs)
            return await downloader.in_turn(output.directory, steps)
        with contextlib.closing(await downloader.in_thread(open_places, opening, output)) as places:
            limit = min(max_job_bytes or math.inf, downloader.policy.max_job_bytes)
            saving = _Saving(downloader, places, output, job, deadline_s, on_progress, limit)
            files, failures = await saving.artifacts(found, known)
            kept = _Logs(places, output, job)
            if logs:
                await downloader.in_thread(kept.save, logs, files)
    return SavedFiles(
        files=tuple(files),
        failures=tuple(failures),
        log_path=kept.path,
        warnings=(*saving.warnings, *kept.warnings),
    )


def _saving_itself(
    result: Any,
    opening: Opening,
    output: OutputSpec,
    job: JobFacts,
    logs: Sequence[Mapping[str, Any]],
) -> Steps[SavedFiles]:
    """Save a result without artifacts: there is nothing to wait for but the disk."""
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    names = _plans(output, job, 1)[0].candidates("json")
    with contextlib.closing(open_places(opening, output)) as places:
        folder = places.files
        data = text.encode(errors="replace")
        kept = yield from folder.saving(data, _label(job, "result"), names)
        saved = SavedFile(
            path=f"{folder.path}/{kept.name}",
            url=None,
            content_type="application/json",
            bytes=kept.bytes,
            sha256=kept.sha256,
        )
        log = _Logs(places, output, job)
        log.save(logs, [saved])
    return SavedFiles(files=(saved,), log_path=log.path, warnings=tuple(log.warnings))


@dataclass
class _Logs:
    """The logs of a job, saved where they are wanted; blocks.

    Where there are none, no file pretends that there might have been some.
    """

    places: Places
    output: OutputSpec
    job: JobFacts
    #: Where they are; ``logs/`` is named where both are wanted.
    path: str | None = None
    warnings: list[str] = field(default_factory=list)

    def save(self, lines: Sequence[Mapping[str, Any]], files: Sequence[SavedFile]) -> None:
        if not lines:
            return
        text = render_logs(lines).encode(errors="replace")
        some_id = self.job.request_id or self.job.job_id
        if self.output.save_logs:
            self._put(text, "logs", f"{safe_id(some_id)}_{stamp(self.job.created_at)}")
        if self.output.save_logs_inline:
            first = files[0].path.rpartition("/")[2].rpartition(".")[0] if files else ""
            self._put(text, None, first or stem_of(self.job.model_id, some_id))

    def _put(self, text: bytes, folder: str | None, stem: str) -> None:
        names = NamePlan(stem=stem).candidates("log")
        try:
            path = put_log(self.places, folder, text, names, _label(self.job, "log"))
        except OutputError as err:
            self.warnings.append(err.message)
        else:
            self.path = self.path or path


@dataclass
class _Saving:
    downloader: Downloader
    places: Places
    output: OutputSpec
    job: JobFacts
    deadline_s: float
    on_progress: FileProgress | None
    max_bytes: float
    warnings: list[str] = field(default_factory=list)
    earlier: dict[str, SavedFile] = field(default_factory=dict)
    saved_bytes: int = 0

    async def _recall(self, known: Sequence[SavedFile], plans: Sequence[NamePlan]) -> None:
        """Learn which files of this job are there from an earlier time."""
        stems = tuple(plan.stem for plan in plans)
        sidecars = await self.downloader.in_thread(
            own_files, self.places.files, self.job.job_id, stems
        )
        for saved in (*known, *sidecars):
            if saved.url is not None and not is_data_uri(saved.url):
                self.earlier[saved.url] = saved

    async def artifacts(
        self, found: Sequence[Artifact], known: Sequence[SavedFile]
    ) -> tuple[list[SavedFile], list[dict[str, Any]]]:
        plans = self._own(_plans(self.output, self.job, min(len(found), MAX_FILES)))
        await self._recall(known, plans)
        limit = asyncio.Semaphore(PARALLEL_FILES)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._one(number, artifact, plan, limit))
                for number, (artifact, plan) in enumerate(zip(found, plans, strict=False), 1)
            ]
        outcomes = [task.result() for task in tasks]
        failures = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        if len(found) > MAX_FILES:
            left_out = f"a result has more than {MAX_FILES} files"
            error = DownloadError(left_out, retryable=False)
            failures.append(_failure(found[MAX_FILES], error))
        return [outcome for outcome in outcomes if isinstance(outcome, SavedFile)], failures

    def _own(self, plans: Sequence[NamePlan]) -> Sequence[NamePlan]:
        """Keep from taking a file with equal bytes that another job's sidecar tells of."""
        if not self.output.sidecar:
            return plans
        folder, job_id = self.places.files, self.job.job_id
        return [
            replace(plan, fits=lambda name: not is_anothers(folder, job_id, name)) for plan in plans
        ]

    async def _one(
        self, number: int, artifact: Artifact, plan: NamePlan, limit: asyncio.Semaphore
    ) -> SavedFile | dict[str, Any]:
        async with limit:
            try:
                saved = (
                    await self._still_there(artifact)
                    or await self._copied(number, artifact, plan)
                    or await self._fetched(number, artifact, plan)
                )
            except ArtifactError as err:
                return _failure(artifact, err)
            self.saved_bytes += saved.bytes
        if self.output.sidecar:
            await self._sidecar(saved, _label(self.job, f"{number}-sidecar"))
        return saved

    async def _still_there(self, artifact: Artifact) -> SavedFile | None:
        saved = self.earlier.get(artifact.url)
        if saved is None:
            return None
        folder, _, name = saved.path.rpartition("/")
        if folder != self.places.files.path:
            return None
        found = await self.downloader.in_thread(self.places.files.digest, name)
        return saved if found == (saved.bytes, saved.sha256) else None

    async def _copied(self, number: int, artifact: Artifact, plan: NamePlan) -> SavedFile | None:
        """Take the file from where an earlier saving left it, even if fal has it no more."""
        saved = self.earlier.get(artifact.url)
        if saved is None:
            return None
        return await self.downloader.in_thread(
            copy_file, self.places.files, saved, plan, _label(self.job, number)
        )

    async def _fetched(self, number: int, artifact: Artifact, plan: NamePlan) -> SavedFile:
        if self.saved_bytes >= self.max_bytes:
            message = f"the files of one job are larger than {self.max_bytes:,} bytes together"
            raise DownloadError(message, retryable=False)
        saved = self.earlier.get(artifact.url)
        return await self.downloader.fetch(
            artifact,
            self.places.files,
            plan,
            label=_label(self.job, number),
            deadline_s=self.deadline_s,
            sha256=saved.sha256 if saved is not None else None,
            on_progress=self._progress_of(artifact),
        )

    def _progress_of(self, artifact: Artifact) -> Callable[[int, int | None], None] | None:
        if self.on_progress is None:
            return None
        tell, name = self.on_progress, artifact.field
        return lambda done, total: tell(name, done, total)

    async def _sidecar(self, saved: SavedFile, label: str) -> None:
        name = sidecar_name(saved.path.rpartition("/")[2])
        text = write_sidecar(saved, self.job, datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            await self.downloader.in_thread(put_sidecar, self.places.files, name, text, label)
        except OutputError as err:
            self.warnings.append(err.message)


def stamp(at: float) -> str:
    """Give a time as it stands in names, in UTC so that machines agree.

    >>> stamp(0.0)
    '19700101000000'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%S")


def _label(job: JobFacts, what: int | str) -> str:
    return f"{safe_id(job.job_id)}-{what}"


def _plans(output: OutputSpec, job: JobFacts, count: int) -> list[NamePlan]:
    some_id = job.request_id or job.job_id
    if output.output_file is not None:
        return plan_output_file(output.output_file.rpartition("/")[2], count)
    if output.auto_filename:
        return plan_stamped(some_id, stamp(job.created_at), count)
    return plan_names(stem_of(job.model_id, some_id), count)


def _failure(artifact: Artifact, error: ArtifactError) -> dict[str, Any]:
    return {
        "field": artifact.field,
        "url": shown_url(artifact.url),
        "type": type(error).__name__,
        "error": error.message,
        "retryable": error.retryable,
    }
