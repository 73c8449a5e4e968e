"""The one object that a caller gets for a job (design 1.4), made from its record; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from falq.errors import FalqError
from falq.record import JobRecord

COMPLETED = "COMPLETED"
FAILED = "FAILED"
RESULT_ENDPOINT_ONLY = "RESULT_ENDPOINT_ONLY"


def _span(start: float | None, end: float | None) -> float:
    return 0.0 if start is None or end is None else round(max(0.0, end - start), 3)


def timings(record: JobRecord, now: float) -> dict[str, float]:
    """Give how long a job waited, ran and downloaded, in seconds.

    >>> timings(JobRecord(job_id="j", created_at=1, submitting_at=2, downloading_at=4), 5)
    {'queued_s': 1, 'running_s': 2, 'download_s': 1, 'total_s': 4}
    """
    ran_until = record.downloading_at if record.downloading_at is not None else now
    return {
        "queued_s": _span(record.created_at, record.submitting_at or now),
        "running_s": _span(record.submitting_at, ran_until),
        "download_s": _span(record.downloading_at, now),
        "total_s": _span(record.created_at, now),
    }


def _common(record: JobRecord, now: float) -> dict[str, Any]:
    return {
        "model_id": record.model_id,
        "request_id": record.request_id,
        "job_id": record.job_id,
        "timings": timings(record, now),
        "billable_units": record.billable_units,
        "recovered": record.recovered,
        "deduplicated": False,
    }


def completed(
    record: JobRecord,
    now: float,
    files: Sequence[Mapping[str, Any]],
    *,
    logs: Sequence[Mapping[str, Any]] = (),
    log_path: str | None = None,
) -> dict[str, Any]:
    """Give the outcome of a job whose result is there and whose files are saved."""
    paths = [str(file["path"]) for file in files]
    shown: dict[str, Any] = {"status": COMPLETED} | _common(record, now)
    shown |= {"saved_path": paths[0] if paths else None, "saved_paths": paths}
    shown |= {"files": [dict(file) for file in files], "result": record.result}
    if logs:
        shown["logs"] = [dict(line) for line in logs]
    if log_path is not None:
        shown["log_path"] = log_path
    return shown


def endpoint_only(
    record: JobRecord, now: float, platform_request: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Give the outcome of a request that fal ran but whose result it does not hand out."""
    shown: dict[str, Any] = {"status": RESULT_ENDPOINT_ONLY} | _common(record, now)
    return shown | {"platform_request": dict(platform_request) if platform_request else None}


def failed(
    record: JobRecord,
    now: float,
    error: FalqError,
    *,
    logs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Give the outcome of a failed job; a result that is already there stays in it."""
    known = error.about(
        model_id=record.model_id, request_id=record.request_id, job_id=record.job_id
    )
    shown: dict[str, Any] = {"status": FAILED, "error": known.to_dict()}
    shown["timings"] = timings(record, now)
    if record.result is not None:
        shown["result"] = record.result
    if logs:
        shown["logs"] = [dict(line) for line in logs]
    return shown


def ticket(
    job_id: str,
    phase: str,
    request_id: str | None,
    queue_position: int | None,
    *,
    deduplicated: bool = False,
) -> dict[str, Any]:
    """Give what a caller gets for a job that is not finished yet.

    >>> ticket("j", "queued", None, 3)["status"], ticket("j", "running", "r", None)["status"]
    ('QUEUED', 'RUNNING')
    """
    shown: dict[str, Any] = {
        "status": "QUEUED" if phase == "queued" else "RUNNING",
        "job_id": job_id,
        "request_id": request_id,
        "queue_position": queue_position,
    }
    return shown | ({"deduplicated": True} if deduplicated else {})
