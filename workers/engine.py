"""The event loop of a worker: admits jobs, holds many at once, renews, adopts, ends well.

A job is admitted by Redis at the moment it may start, so nothing waits in here. Heartbeats
and lease renewals run in a thread of their own: a job that blocks the loop must not look
dead to other workers, who would start it a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from falq.admission import Admitted, Grant
from falq.batches import Batches
from falq.ledger import HeldElsewhereError
from falq.phases import TERMINAL, Phase
from falq.record import JobRecord
from workers.bookkeeping import Bookkeeping, Ended, Held, about
from workers.disk import DiskReserve
from workers.station import Station

log = logging.getLogger("falq.worker")

#: Jobs taken by one admission; more would keep Redis longer from others.
BATCH = 20
#: An idle worker looks again after this time even if no wake-up came, seconds.
FALLBACK_S = 2.0


@dataclass(kw_only=True)
class Engine:
    """Runs jobs until told to stop.

    Args:
        station: Shared connections.
        books: RQ's view, leases and presence.
        disk: Of the home; no job is claimed while it is full.
        concurrency: Jobs at once.
        queues: Glob of queues served; None serves all.
        burst: End when nothing waits and nothing runs.
        idle_exit_s: End after so long without a job.
    """

    station: Station
    books: Bookkeeping
    disk: DiskReserve
    concurrency: int = 1000
    queues: str | None = None
    burst: bool = False
    idle_exit_s: float | None = None
    _live: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _stopping: bool = False

    async def run(self) -> None:
        """Work until a signal, the end of a burst, or idleness."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._endings = Batches(self.books.end, self.station.threads.run)
        self._busy_at = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal)
        self.books.start(self._from_thread, self._lose, self._cancel)
        try:
            while not self._stopping:
                await self._turn()
            # From here on a wake-up would be lost on us.
            await self._admit(0)
            await self._drain()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.remove_signal_handler(number)
            await self.station.threads.run(self.books.stop)
            await self.station.close()

    def _from_thread(self) -> None:
        """Look again: called by the listener when a wake-up came."""
        self._loop.call_soon_threadsafe(self._changed.set)

    def _on_signal(self) -> None:
        if self._stopping:
            log.warning("second signal: leaving %d jobs to other workers", len(self._live))
            for task in self._live.values():
                self._cancel_soon(task)
        elif self._live:
            log.info("stopping: %d jobs finish first; again to leave them", len(self._live))
        self._stopping = True
        self._changed.set()

    async def _turn(self) -> None:
        """Admit what may start, then sleep until something changes."""
        free = self.concurrency - len(self._live)
        self._changed.clear()
        if free <= 0 or self.books.suspended or self.disk.is_short():
            await self._sleep(None)
            return
        admitted = await self._admit(min(free, BATCH))
        if admitted is None:
            await asyncio.sleep(0.5)
        elif admitted.grants:
            await self._begin(admitted.grants)
        elif not self._finished(admitted):
            await self._sleep(admitted.wait_s)

    async def _admit(self, limit: int) -> Admitted | None:
        """Ask for jobs; None while Redis is away."""
        try:
            return await self.station.threads.run(
                self.station.admission.admit, self.books.name, limit, queues=self.queues
            )
        except RedisError as error:
            self.books.outage.tell(error)
            return None

    def _finished(self, admitted: Admitted) -> bool:
        """Tell whether to end: a burst is over, or nothing came for long."""
        if self._live:
            self._busy_at = time.monotonic()
            return False
        idle_s = time.monotonic() - self._busy_at
        idle = self.idle_exit_s is not None and idle_s > self.idle_exit_s and not admitted.waiting
        self._stopping = self._stopping or (self.burst and not admitted.waiting) or idle
        return self._stopping

    async def _sleep(self, wait_s: float | None) -> None:
        wait_s = FALLBACK_S if wait_s is None else min(FALLBACK_S, wait_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._changed.wait()

    async def _begin(self, grants: tuple[Grant, ...]) -> None:
        """Show the jobs as started and start them; each holds its lease already."""
        self._busy_at = time.monotonic()
        for held in await self._surely_started(grants):
            task = asyncio.create_task(self._work(held), name=held.grant.job_id)
            self._live[held.grant.job_id] = task

    async def _surely_started(self, grants: tuple[Grant, ...]) -> list[Held]:
        while True:
            try:
                return await self.station.threads.run(self.books.begin, grants)
            except RedisError as error:
                self.books.outage.tell(error)
                await asyncio.sleep(0.5)

    async def _work(self, held: Held) -> None:
        facts: dict[str, str | None] = {"job_id": held.grant.job_id, "queue": held.grant.queue}
        if held.record is not None:
            facts |= about(held.record) | {"phase": None}
        log.info("adopted" if held.grant.adopted else "started", extra=facts)
        try:
            record = await self._carry_out(held)
            held.ended = True
            log_end(record, facts)
            await self._show_end(held, record)
        except HeldElsewhereError:
            held.ended = True
            log.info("held elsewhere", extra=facts)
            await self._leave(held)
        except asyncio.CancelledError:
            await self._leave(held)
        finally:
            self._live.pop(held.grant.job_id, None)
            self.books.let_go(held)
            self._changed.set()

    async def _carry_out(self, held: Held) -> JobRecord | None:
        ledger = self.station.open_ledger(held.grant, held.record)
        if ledger is None:
            return None
        if held.refusal is not None:
            return await self.station.refuse(ledger, held.refusal)
        held.ledger = ledger
        if held.cancel_asked:
            ledger.ask_cancel()
        return await self.station.work(ledger)

    async def _show_end(self, held: Held, record: JobRecord | None) -> None:
        """Bring RQ's view up to date; it is no reason to fail if Redis stays away."""
        for attempt in range(60):
            try:
                await self._endings.do(Ended(held, record))
                return
            except RedisError:
                await asyncio.sleep(min(3.0, 0.2 * 2**attempt))

    async def _leave(self, held: Held) -> None:
        """Hand a job over at once: another worker adopts it; one that just ended is shown."""
        with contextlib.suppress(RedisError):
            job_id = held.grant.job_id
            record = await self.station.threads.run(self.station.journal.find, job_id)
            if record is not None and record.phase in TERMINAL:
                await self._endings.do(Ended(held, record))
            else:
                await self.station.threads.run(self.books.surrender, held)

    def _lose(self, job_id: str) -> None:
        """A lease was not ours to renew: stop, without touching the job (from a thread)."""
        self._loop.call_soon_threadsafe(self._cancel_task, job_id)

    def _cancel_task(self, job_id: str) -> None:
        """Stop working on a lost job, unless its POST is under way.

        Only we can tell what became of that one, and whoever adopted the job will listen.
        """
        task, held = self._live.get(job_id), self.books.held.get(job_id)
        if task is not None and not (held is not None and held.posting):
            self._cancel_soon(task)

    def _cancel_soon(self, task: asyncio.Task[None]) -> None:
        """Cancel a task after its first step: before, it would not even hand its job over."""
        self._loop.call_soon(task.cancel)

    def _cancel(self, job_id: str) -> None:
        """Somebody asks to cancel a job that we hold (from a thread)."""
        self._loop.call_soon_threadsafe(self._ask_cancel, job_id)

    def _ask_cancel(self, job_id: str) -> None:
        held = self.books.held.get(job_id)
        if held is not None and held.ledger is not None:
            held.ledger.ask_cancel()
        elif held is not None:
            held.cancel_asked = True

    async def _drain(self) -> None:
        """Let what runs finish."""
        while self._live:
            await asyncio.wait(set(self._live.values()))


def log_end(record: JobRecord | None, facts: dict[str, str | None]) -> None:
    """Log how a job left this worker; its ledger has told of one that waits again."""
    if record is None:
        log.warning("gone: its record is not there or another holds it", extra=facts)
        return
    if record.phase == Phase.QUEUED:
        return
    shown = facts | about(record)
    message = (record.error or {}).get("message")
    if message:
        log.warning("%s: %s", record.phase, message, extra=shown)
    else:
        log.info("%s", record.phase, extra=shown)
