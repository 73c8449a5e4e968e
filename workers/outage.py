"""Says that Redis is away, not again with every attempt, and that it is back."""

from __future__ import annotations

import logging
import time

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as SilentError

log = logging.getLogger("falq.worker")

#: One line about an outage in so many seconds.
EVERY_S = 15.0
#: It cannot be reached; any other error is an answer.
_AWAY = (LostError, SilentError)


class Outage:
    """What a worker says while Redis is away; safe to use from threads."""

    def __init__(self) -> None:
        self._told_at: float | None = None
        self._began_at: float | None = None

    def tell(self, error: Exception) -> None:
        """Note an attempt that failed."""
        now = time.monotonic()
        if self._began_at is None and isinstance(error, _AWAY):
            self._began_at = now
        if self._told_at is None or now - self._told_at > EVERY_S:
            self._told_at = now
            log.warning("redis: %s; trying again", error)

    def over(self) -> None:
        """Note that Redis answers; says so once after an outage."""
        if self._began_at is None:
            return
        away_s = time.monotonic() - self._began_at
        self._began_at = None
        log.info("redis: it answers again after %.1f s", away_s)
