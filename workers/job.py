"""The one function that falq's RQ jobs name: ``workers.job.run``.

falq's own worker never calls it; it recognises the name and runs the pipeline. A stock
``rq worker --job-class workers.rq_glue.FalqJob --serializer rq.serializers.JSONSerializer QUEUE``
calls it: slower, one job at a time, but right. There admission happens at the start of the
job, by waiting. Without that job class a stock worker runs whatever a job in Redis names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

from redis.exceptions import RedisError
from rq import get_current_job

from falq.admission import Grant
from falq.errors import ERROR_TYPES, FalqError, UsageError
from falq.foreign import describe, foreign_fields
from falq.ledger import HeldElsewhereError
from falq.meeting import part_ways
from falq.phases import TERMINAL, Phase
from falq.record import JobRecord
from falq.redis_link import connect, count_replicas
from falq.scripts import Scripts
from falq.settings import Settings
from workers.station import Station, build_station

#: Renewals of the lease while a stock worker runs the job, seconds apart.
_RENEW_S = 2.5
#: Looks at a job that another worker does, seconds apart.
_FOLLOW_S = 0.5


async def run(job_id: str | None = None, **keywords: Any) -> dict[str, Any]:
    """Do a job under a stock RQ worker, and give its outcome.

    Args:
        job_id: Of a job that falq enqueued.
        keywords: What a job that a stock tool enqueued asks for (``falq.foreign``).

    Raises:
        FalqError: The job failed; RQ shows it as failed then.
    """
    fields = foreign_fields(keywords) if job_id is None else None
    settings = Settings.from_env(os.environ)
    station = build_station(settings, connect(settings, role="worker"))
    try:
        station.journal.replicas = await station.threads.run(count_replicas, station.redis)
        if fields is not None:
            job_id = await _describe(station, fields)
        record = await _work_or_follow(station, job_id or "")
    finally:
        await station.close()
    if record.phase != Phase.DONE:
        raise error_of(record)
    return dict(record.outcome or {})


async def _describe(station: Station, fields: dict[str, Any]) -> str:
    """Write what the current job asks for into its record; give its id."""
    current = get_current_job()
    if current is None:
        raise UsageError("a call without job_id is for RQ's workers: use falq.run_fal_api_job")
    await station.threads.run(
        describe, Scripts(station.redis), station.settings.account, current.id,
        queue=current.origin, fields=fields,
    )  # fmt: skip
    return current.id


def error_of(record: JobRecord) -> FalqError:
    """Rebuild the error of a job that did not end well."""
    if record.error is not None:
        return FalqError.from_dict(record.error)
    return ERROR_TYPES["UnknownOutcomeError"](f"the job is {record.phase}", job_id=record.job_id)


async def _work_or_follow(station: Station, job_id: str) -> JobRecord:
    while True:
        grant = await _acquire(station, job_id)
        if grant is None:
            return await _follow(station, job_id)
        found = await station.threads.run(station.journal.find, job_id)
        ledger = station.open_ledger(grant, found)
        if ledger is None:
            return await _follow(station, job_id)
        renewing = asyncio.create_task(_renew(station, grant))
        try:
            record = await station.work(ledger)
        except HeldElsewhereError:
            continue
        finally:
            renewing.cancel()
        if record.phase in TERMINAL:
            await station.threads.run(part_ways, record.options)
        if record.phase != Phase.QUEUED:
            return record


async def _acquire(station: Station, job_id: str) -> Grant | None:
    """Wait until the job may start; None when another worker holds it."""
    current = get_current_job()
    worker = str(current.worker_name) if current is not None else f"direct.{os.getpid()}"
    while True:
        held = await station.threads.run(station.admission.acquire, job_id, worker)
        if held is None or isinstance(held, Grant):
            return held
        await asyncio.sleep(min(held, 2.0))


async def _renew(station: Station, grant: Grant) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        with contextlib.suppress(RedisError):
            await station.threads.run(station.admission.renew, {grant.job_id: grant.token})


async def _follow(station: Station, job_id: str) -> JobRecord:
    """Wait for the end of a job that another worker does."""
    while True:
        record = await station.threads.run(station.journal.get, job_id)
        if record.phase in TERMINAL | {Phase.UNKNOWN}:
            return record
        await asyncio.sleep(_FOLLOW_S)
