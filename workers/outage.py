"""Says that Redis is away, and does not say it again with every attempt."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("falq.worker")

#: One line about an outage in so many seconds.
EVERY_S = 15.0


class Outage:
    """What a worker says while Redis is away; safe to use from threads."""

    def __init__(self) -> None:
        self._told_at: float | None = None

    def tell(self, error: Exception) -> None:
        """Note an attempt that failed."""
        now = time.monotonic()
        if self._told_at is None or now - self._told_at > EVERY_S:
            self._told_at = now
            log.warning("redis: %s; trying again", error)
