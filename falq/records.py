"""Reads the records of jobs, and lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis import Redis

from falq import keys
from falq.errors import UsageError
from falq.exchange import Exchange
from falq.record import JobRecord, read_record


class Records:
    """The records of all jobs of one Redis, to be read.

    Args:
        redis: Bytes replies.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._exchange = Exchange(redis)

    def find(self, job_id: str) -> JobRecord | None:
        """Read a record; None if there is none."""
        return next(iter(self.read_many([job_id])), None)

    def get(self, job_id: str) -> JobRecord:
        """Read a record.

        Raises:
            UsageError: There is none, or it was kept for its seven days.
        """
        record = self.find(job_id)
        if record is None:
            raise UsageError(
                f"there is no job {job_id!r}", "falq jobs lists them; one is kept for 7 days"
            )
        return record

    def owners(self, request_ids: Sequence[str]) -> dict[str, str]:
        """Give the jobs that own requests, for those that are owned."""
        found: Any = self._redis.mget([keys.owner(each) for each in request_ids])
        pairs = zip(request_ids, found, strict=True)
        return {each: owner.decode() for each, owner in pairs if owner is not None}

    def position(self, record: JobRecord) -> int | None:
        """Give how many jobs of its queue are ahead; None for one that does not wait."""
        key = keys.waiting(record.account, record.queue)
        place: Any = self._redis.zrank(key, record.job_id)
        return None if place is None else int(place)

    def jobs(
        self,
        *,
        limit: int = 50,
        fits: Callable[[JobRecord], bool] = lambda _: True,
        since_at: float | None = None,
    ) -> list[JobRecord]:
        """List records, newest first.

        Args:
            limit: At most so many.
            fits: Which.
            since_at: None that is older.
        """
        found: list[JobRecord] = []
        for ids in self._newest(limit):
            records = self.read_many(ids)
            young = [each for each in records if since_at is None or each.created_at >= since_at]
            found.extend(record for record in young if fits(record))
            if len(found) >= limit or len(young) < len(records):
                break
        return found[:limit]

    def _newest(self, page: int) -> Iterable[list[str]]:
        start = 0
        while True:
            ids: Any = self._redis.zrevrange(keys.JOBS, start, start + max(page, 100) - 1)
            if not ids:
                return
            yield [job_id.decode() for job_id in ids]
            start += len(ids)

    def read_many(self, job_ids: Sequence[str]) -> list[JobRecord]:
        """Read records in one round trip; those that are gone are left out."""
        found = self._exchange.hashes([keys.job(job_id) for job_id in job_ids])
        return [
            read_record(job_id, {k.decode(): v.decode() for k, v in stored.items()})
            for job_id, stored in zip(job_ids, found, strict=True)
            if stored
        ]

    def unknown(self) -> list[JobRecord]:
        """List the jobs whose outcome is unknown."""
        ids: Any = self._redis.smembers(keys.UNKNOWN)
        return self.read_many(sorted(job_id.decode() for job_id in ids))
