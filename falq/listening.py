"""A caller's presence that ends with its process, so that others see its death at once."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from falq import keys


class Listening:
    """A subscription to the channels of the jobs that a caller waits for.

    A call that is about to be enqueued may turn out to attach to an earlier job. So the
    channel of its own id says from the first moment on that somebody is there.

    Args:
        redis: Gives it a connection of its own.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pubsub: Any = None
        self._job_ids: list[str] = []

    def to(self, job_id: str) -> bool:
        """Listen to a job's channel and to no other; tell whether we do. Safe to repeat."""
        if self._job_ids != [job_id]:
            self.close()
        return self.also_to(job_id) is not None

    def also_to(self, job_id: str) -> str | None:
        """Listen to one more, and keep it up; give the first, None if we cannot listen."""
        try:
            if job_id not in self._job_ids:
                self._subscribe(job_id)
            while self._pubsub.get_message(timeout=0) is not None:
                pass
        except RedisError:
            self.close()
        return self._job_ids[0] if self._job_ids else None

    def _subscribe(self, job_id: str) -> None:
        if self._pubsub is None:
            self._pubsub = self._redis.pubsub()  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(keys.caller(job_id))
        self._job_ids.append(job_id)

    def close(self) -> None:
        """Listen no more."""
        if self._pubsub is not None:
            self._pubsub.close()
        self._pubsub, self._job_ids = None, []
