"""An ended job's outcome, with its files where they are wanted; never by a new call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from falq import outcome
from falq.errors import FalqError, UsageError
from falq.files.spec import OutputSpec
from falq.ledger import Rivals
from falq.phases import ACTIVE, Phase
from falq.planner import ASKED
from falq.record import JobRecord
from falq.settings import Settings

OnEvent = Callable[[Mapping[str, Any]], None]


def salvage(
    settings: Settings, record: JobRecord, output: OutputSpec, on_event: OnEvent | None
) -> dict[str, Any]:
    """Give the outcome of an ended job, and try again what could not be saved.

    Raises:
        FalqError: The job failed, or a file could not be saved here.
    """
    here = output.to_dict() == OutputSpec.of(record.options).to_dict()
    if record.result is None or record.phase == Phase.CANCELLED:
        return outcome_of(record)
    if record.phase == Phase.DONE and here:
        return settle(settings, record, output, on_event)
    return fetch(settings, record, output, on_event)


def salvage_direct(
    settings: Settings,
    record: JobRecord,
    output: OutputSpec,
    on_event: OnEvent | None,
    *,
    keep: Callable[[JobRecord], None],
    rivals: Rivals,
) -> dict[str, Any]:
    """Do the same for a direct call; a request without a result is asked for from here.

    ``keep`` writes down what becomes of it then, ``rivals`` own requests that are not its.

    Raises:
        FalqError: The job failed, or a file could not be saved here.
    """
    from falq.direct import go_on

    if record.phase == Phase.QUEUED:
        raise UsageError(f"job {record.job_id} was never sent", "repeat the call")
    if record.result is not None or not may_be_there(record):
        return salvage(settings, record, output, on_event)
    now = time.time()
    unsure = record.phase in (Phase.UNKNOWN, Phase.SUBMITTING)
    known = record.request_id is not None and not unsure
    again = record.changed(
        phase=Phase.SUBMITTED if known else Phase.SUBMITTING,
        options=record.options | {"output": output.to_dict()},
        loss=ASKED,
        lost_at=now,
        resumed_at=now,
        error=None,
        outcome=None,
    )
    return outcome_of(go_on(settings, again, on_event, keep=keep, rivals=rivals))


def settle(
    settings: Settings, record: JobRecord, output: OutputSpec, on_event: OnEvent | None
) -> dict[str, Any]:
    """Give the outcome of a job that ended; files that are not here as they were are fetched.

    Another machine has other files under the same paths, and this one's may have changed.

    Raises:
        FalqError: The job failed, or a file could not be saved here.
    """
    from falq.files.artifacts import SavedFile
    from falq.files.places import is_there

    shown = record.outcome or {}
    files = [SavedFile.from_dict(file) for file in shown.get("files") or []]
    here = all(is_there(file) for file in files)
    if record.phase == Phase.DONE and (shown.get("remote") or not here):
        return fetch(settings, record, output, on_event)
    return outcome_of(record)


def fetch(
    settings: Settings, record: JobRecord, output: OutputSpec, on_event: OnEvent | None
) -> dict[str, Any]:
    """Save the files of a result into a directory of this machine, without a new call.

    Files that an earlier saving left on this machine are copied, even if fal has them no more;
    others must be what that saving saw.

    Raises:
        ArtifactError: A file could not be saved; the others are there.
    """
    from falq.direct import go_on

    again = record.changed(
        phase=Phase.DOWNLOADING,
        options=record.options | {"output": output.to_dict()},
        downloading_at=time.time(),
        error=None,
    )
    ended = go_on(settings, again, on_event, needs_key=False)
    return outcome_of(ended.changed(outcome=_with_first_timings(ended, record)))


def _with_first_timings(ended: JobRecord, record: JobRecord) -> dict[str, Any]:
    """Count what the job itself took, not the days that its files were left lying."""
    shown = dict(ended.outcome or {})
    told = (record.outcome or {}).get("timings")
    if told:
        timings = {**told, "download_s": shown["timings"]["download_s"]}
        parts = ("queued_s", "running_s", "download_s")
        timings["total_s"] = round(sum(timings[part] for part in parts), 3)
        shown["timings"] = timings
    return shown


def may_be_there(record: JobRecord) -> bool:
    """Tell whether fal may have a result that we did not get."""
    if record.phase in ACTIVE | {Phase.UNKNOWN}:
        return True
    kind = str((record.error or {}).get("type"))
    missed = kind in ("JobTimeoutError", "UnreachableError", "NetworkError")
    missed = missed or (record.outcome or {}).get("status") == outcome.RESULT_ENDPOINT_ONLY
    return missed and record.request_id is not None


def outcome_of(record: JobRecord) -> dict[str, Any]:
    """Give the outcome of a job, or raise its error."""
    if record.error is not None:
        error = FalqError.from_dict(record.error)
        error.outcome = record.outcome
        raise error
    return dict(record.outcome or {})
