"""What the pipeline needs of the place where a job's record is kept.

Two keep it: the journal in Redis (``workers.journal_ledger``), and ``MemoryLedger`` for a
direct call, whose record lives as long as its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from falq.planner import Change
from falq.record import JobRecord


class HeldElsewhereError(Exception):
    """Another worker holds the job by now; whatever this one still knows is void."""


class Ledger(Protocol):
    """The record of one job while this process works on it.

    Attributes:
        record: As it stands after the last call.
        cancel_asked: Set when somebody asks to cancel the job.
    """

    record: JobRecord
    cancel_asked: asyncio.Event

    async def apply(self, change: Change, outcome: Mapping[str, Any] | None = None) -> bool:
        """Make a change durable before returning; an end carries its outcome.

        Returns:
            Whether this process still works on the job. A job that went back to its queue
            is no longer ours.

        Raises:
            HeldElsewhereError: The job was given to another worker; nothing changed.
        """
        ...

    async def note(self, event: Mapping[str, Any]) -> None:
        """Tell whoever watches the job; may be lost."""
        ...

    async def claim(self, request_id: str) -> bool:
        """Claim a request of fal's history for this job; False if another job owns it."""
        ...

    async def owned_by_others(self, request_ids: Collection[str]) -> set[str]:
        """Give those of the requests that belong to other jobs."""
        ...

    async def awaited_alike(self) -> list[float]:
        """Give when the other jobs with equal arguments sent whose reply may still come.

        Each of them owns one request of fal's history that it has not claimed yet.
        """
        ...


class Rivals(Protocol):
    """The other calls beside one that goes to fal directly."""

    def claim(self, request_id: str) -> bool:
        """Claim a request for the call; False if another owns it."""
        ...

    def owned(self, request_ids: Collection[str]) -> set[str]:
        """Give those of the requests that belong to others."""
        ...

    def awaited_alike(self, record: JobRecord) -> list[float]:
        """Give when others with equal arguments sent whose reply may still come."""
        ...


class MemoryLedger:
    """A record in memory, for a call that goes to fal directly.

    Args:
        record: The job as it starts.
        on_event: Is told of every event.
        keep: Writes the record down after each change, so that it outlives the process.
        rivals: Those that may own a request of fal's; None: nobody else is there.
    """

    def __init__(
        self,
        record: JobRecord,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
        keep: Callable[[JobRecord], None] | None = None,
        rivals: Rivals | None = None,
    ) -> None:
        self.record = record
        self.cancel_asked = asyncio.Event()
        if record.cancel_requested:
            self.cancel_asked.set()
        self._on_event = on_event
        self._keep = keep
        self._rivals = rivals

    async def apply(self, change: Change, outcome: Mapping[str, Any] | None = None) -> bool:
        """Change the record; a job that would go back to its queue waits here."""
        fields = {k: v for k, v in change.fields.items() if hasattr(self.record, k)}
        if outcome is not None:
            fields |= {"outcome": dict(outcome), "finished_at": time.time()}
        if change.error is not None:
            fields |= {"error": change.error.to_dict()}
        moved = {} if change.to == self.record.phase else stamp(change.to)
        self.record = self.record.changed(phase=change.to, **(moved | fields))
        if self._keep is not None:
            self._keep(self.record)
        if change.fields.get("request_id") is not None:
            await self.claim(change.fields["request_id"])
        await self.note({"phase": change.to})
        if change.event is not None and outcome is None:
            await self.note(change.event)
        if change.hold_s is not None and outcome is None:
            await self._sit_out(change.hold_s, change.hold_reason)
        return True

    async def _sit_out(self, hold_s: float, reason: str) -> None:
        """Wait where a queued job would be held; a cancel ends the wait."""
        await self.note({"warning": f"{reason}; next attempt in {hold_s:.1f} s"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(hold_s):
                await self.cancel_asked.wait()

    async def note(self, event: Mapping[str, Any]) -> None:
        """Tell the caller, who is this process."""
        if self._on_event is not None:
            self._on_event(event)

    async def claim(self, request_id: str) -> bool:
        """Claim a request, so that no other call takes it for its own."""
        if self._rivals is None:
            return True
        return await asyncio.to_thread(self._rivals.claim, request_id)

    async def owned_by_others(self, request_ids: Collection[str]) -> set[str]:
        """Give those that others have claimed."""
        if self._rivals is None:
            return set()
        return await asyncio.to_thread(self._rivals.owned, request_ids)

    async def awaited_alike(self) -> list[float]:
        """Give when equal calls sent whose reply may still come."""
        if self._rivals is None:
            return []
        return await asyncio.to_thread(self._rivals.awaited_alike, self.record)


def stamp(phase: str) -> dict[str, float]:
    """Give the time field that entering a phase sets."""
    name = {"running": "running_at", "downloading": "downloading_at"}.get(phase)
    return {} if name is None else {name: time.time()}
