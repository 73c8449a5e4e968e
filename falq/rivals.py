"""Which other jobs may own a request that fal's history shows: equal ones still being answered."""

from __future__ import annotations

from typing import Any

from redis import Redis

from falq import keys
from falq.phases import Phase
from falq.record import JobRecord


def awaited_alike(redis: Redis, record: JobRecord) -> list[float]:
    """Give when other jobs of the account sent equal arguments whose reply they wait for.

    One whose reply is lost is not among them: it searches as we do, and claims decide.
    """
    held: Any = redis.zrange(keys.leases(record.account), 0, -1)
    others = [job_id.decode() for job_id in held if job_id.decode() != record.job_id]
    with redis.pipeline(transaction=False) as pipe:
        for job_id in others:
            pipe.hmget(keys.job(job_id), "phase", "arguments_hash", "lost_at", "submitting_at")
        found = pipe.execute()
    wanted = [Phase.SUBMITTING.encode(), record.arguments_hash.encode()]
    return [
        float(sent_at or 0.0)
        for phase, hashed, lost_at, sent_at in found
        if [phase, hashed] == wanted and not lost_at
    ]
