"""Calls of this home that are in a queue: what a caller knows of them while Redis is away.

Whoever repeats a call then must not go past the queue, where the first one may be paid for.
These are notes only: one that is missing, because the home cannot be used, stops no call.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from falq.daily_notes import DailyNotes
from falq.errors import ConfigurationError


class UnderWay:
    """The notes of one home: job_id by the fingerprint of its call.

    Args:
        home: The state directory.
    """

    def __init__(self, home: Path) -> None:
        self._notes = DailyNotes(home, "queued")

    def note(self, job_id: str, fingerprint: str) -> None:
        """Note that a call is about to be enqueued, or that it attached to a job."""
        # Where there is no user id there is no home, and no call past the queue either.
        if hasattr(os, "geteuid"):
            with contextlib.suppress(OSError, ConfigurationError):
                self._notes.write(job_id, fingerprint)

    def drop(self, job_id: str) -> None:
        """Note that a job is over for its callers, or was surely not enqueued."""
        if hasattr(os, "geteuid"):
            with contextlib.suppress(OSError, ConfigurationError):
                self._notes.drop(job_id)

    def find(self, fingerprint: str) -> str | None:
        """Give the job of an equal call that may be under way.

        Raises:
            ConfigurationError: The home cannot be used.
        """
        return self._notes.find(fingerprint)
