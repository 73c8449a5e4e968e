"""Keeps the start interval at the first byte, too.

Admission promises instants of admission. A process that was paused between admission and
sending (a full disk, a suspended machine) would send what it holds all at once; here each
queue's next POST of this process waits for its distance from the one before.
"""

from __future__ import annotations

import asyncio
import time


class Spacing:
    """The last sending of each queue in this process."""

    def __init__(self) -> None:
        self._sent_at: dict[str, float] = {}

    async def keep(self, queue: str, interval_s: float) -> None:
        """Return when the queue's next POST is at its distance, and take that place."""
        now = time.monotonic()
        at = max(now, self._sent_at.get(queue, now - interval_s) + interval_s)
        self._sent_at[queue] = at
        if at > now:
            await asyncio.sleep(at - now)
