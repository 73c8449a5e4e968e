"""A caller's presence that ends with its process, so that others see its death at once."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from falq import keys


class Listening:
    """A subscription to the channel of the job that a caller waits for.

    Args:
        redis: Gives it a connection of its own.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pubsub: Any = None
        self._job_id: str | None = None

    def to(self, job_id: str) -> bool:
        """Listen to a job's channel; tell whether we do. Safe to repeat, also to keep it up."""
        try:
            if self._pubsub is None or self._job_id != job_id:
                self.close()
                self._pubsub = self._redis.pubsub()  # type: ignore[no-untyped-call]
                self._pubsub.subscribe(keys.caller(job_id))
                self._job_id = job_id
            while self._pubsub.get_message(timeout=0) is not None:
                pass
        except RedisError:
            self.close()
        return self._pubsub is not None

    def close(self) -> None:
        """Listen no more."""
        if self._pubsub is not None:
            self._pubsub.close()
        self._pubsub = None
