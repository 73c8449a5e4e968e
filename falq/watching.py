"""Waits for a job from its caller's side: hears its events, and sees to it that it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from redis import Redis

from falq import enqueue as door
from falq import keys
from falq.admission import Admission
from falq.errors import (
    FalqError,
    RedisUnavailableError,
    UnknownOutcomeError,
    UnreachableError,
    UsageError,
)
from falq.journal import Journal
from falq.phases import TERMINAL, Phase
from falq.record import JobRecord
from falq.redis_link import translate_redis_errors
from falq.settings import Settings

_T = TypeVar("_T")
OnEvent = Callable[[Mapping[str, Any]], None]
#: Longest wait for one event, seconds; then the record, the worker and the caller's own
#: presence are looked at again.
_BLOCK_S = 2.0
#: The first look at what holds the job comes so soon; what starts at once never needs it.
_FIRST_S = 0.25
#: Pause between two attempts at a Redis that is away, seconds.
RETRY_S = 0.3
#: A queued job that no worker serves is reported so often, seconds.
_NOBODY_EVERY_S = 30.0


class Attendant(Protocol):
    """What a watch needs of its caller."""

    settings: Settings
    redis: Redis
    journal: Journal

    def stay_present(self, job_id: str) -> None:
        """Say that somebody still waits."""

    def see_to_worker(self) -> bool:
        """Tell whether anybody works, or start a worker."""

    def revive(self) -> None:
        """Start an embedded server that was killed."""


@dataclass
class Watch:
    """One caller's watch over one job.

    ``seen`` is its record as it was last read; ``known`` says that there was such a job, even
    if Redis has none of that id.
    """

    caller: Attendant
    job_id: str
    on_event: OnEvent
    known: bool = False
    seen: JobRecord | None = None
    cursor: str = "0-0"
    heard_at: float = field(default_factory=time.monotonic)
    touched_at: float = field(default_factory=time.monotonic)
    nobody_at: float | None = None
    away_at: float | None = None
    block_s: float = _FIRST_S

    def until_end(self, wait_s: float | None, idle_timeout_s: float) -> JobRecord:
        """Follow the events until the job ends or the time is over."""
        until = None if wait_s is None else time.monotonic() + wait_s
        record = self._look()
        while record is None or record.phase not in TERMINAL | {Phase.UNKNOWN}:
            left_s = self.block_s if until is None else min(self.block_s, until - time.monotonic())
            if left_s <= 0:
                return record or self._out_of_sight()
            if self._listen(max(0.01, left_s)):
                record = self._look() or record
            elif idle_timeout_s and time.monotonic() - self.heard_at > idle_timeout_s:
                raise self._idle(idle_timeout_s)
            else:
                record = self._tend() or record
        return record

    def _listen(self, block_s: float) -> bool:
        """Hand on what happened; tell whether the phase may have changed."""
        self._stay_present()
        events = self._try(
            lambda: door.read_events(self.caller.redis, self.job_id, self.cursor, block_s)
        )
        moved = False
        for self.cursor, event in events or []:
            self.heard_at = time.monotonic()
            moved = moved or "phase" in event
            self.on_event(event)
        return moved

    def _stay_present(self) -> None:
        """Keep equal calls from attaching to this job while somebody waits for it."""
        if time.monotonic() - self.touched_at > _BLOCK_S:
            self.touched_at = time.monotonic()
            self._try(lambda: self.caller.stay_present(self.job_id))

    def _tend(self) -> JobRecord | None:
        """Nothing was heard: see where the job stands and whether anybody works."""
        self.block_s = _BLOCK_S
        record = self._look()
        if record is None or record.phase in TERMINAL | {Phase.UNKNOWN}:
            return record
        self._see_to_worker()
        if record.phase == Phase.QUEUED:
            event = self._try(lambda: waits_for(self.caller, record))
            if event is not None:
                self.on_event(event)
        return record

    def _see_to_worker(self) -> None:
        served = self._try(self.caller.see_to_worker)
        overdue = self.nobody_at is None or time.monotonic() - self.nobody_at > _NOBODY_EVERY_S
        if served is False and overdue:
            self.nobody_at = time.monotonic()
            self.on_event({"warning": "no worker serves this account; waiting for one"})

    def _look(self) -> JobRecord | None:
        try:
            record = self._try(lambda: self.caller.journal.get(self.job_id))
        except UsageError as error:
            if not self.known:
                raise
            raise self._forgotten() from error
        if record is not None:
            self.seen, self.known = record, True
        return record

    def _try(self, ask: Callable[[], _T]) -> _T | None:
        """Ask Redis; while it is away, say so and go on waiting."""
        try:
            with translate_redis_errors():
                return ask()
        except RedisUnavailableError as error:
            if self.away_at is None or time.monotonic() - self.away_at > _NOBODY_EVERY_S:
                self.away_at = time.monotonic()
                self.on_event({"warning": f"{error.message}; waiting for it"})
            time.sleep(RETRY_S)
            self.caller.revive()
            return None

    def _out_of_sight(self) -> JobRecord:
        """Give what is known of a job while Redis is away and the time is over: its id."""
        return JobRecord(job_id=self.job_id, account=self.caller.settings.account)

    def _forgotten(self) -> FalqError:
        """Tell of a job that was there and is there no more: Redis lost its data."""
        request_id = None if self.seen is None else self.seen.request_id
        named = "it" if request_id is None else f"request {request_id}"
        return UnknownOutcomeError(
            "Redis has forgotten the job: what became of it is unknown",
            f"look {named} up at https://fal.ai/dashboard/requests; "
            "the same call, made again, is a new one and is paid for",
            job_id=self.job_id,
            request_id=request_id,
            model_id=None if self.seen is None else self.seen.model_id,
        )

    def _idle(self, idle_timeout_s: float) -> FalqError:
        return UnreachableError(
            f"nothing was heard of the job for {idle_timeout_s:g} s (client_idle_timeout)",
            "the job goes on; falq wait JOB attaches to it again",
            job_id=self.job_id,
            retryable=False,
            may_be_billed=True,
        )


def waits_for(caller: Attendant, record: JobRecord) -> dict[str, Any] | None:
    """Give the event that says what holds a queued job, and for how long."""
    admission = Admission(caller.redis, record.account)
    with translate_redis_errors():
        states = admission.snapshot([record.queue])
        position = caller.journal.position(record)
    held = [state for state in states if state.limit]
    if not held:
        return None if position is None else {"waits_for": "", "queue_position": position}
    longest = max(held, key=lambda s: float("inf") if s.wait_s is None else s.wait_s)
    ours = longest.queue != keys.ACCOUNT_SCOPE
    own_word = ours or longest.limit in ("hold", "paused")
    return {
        "waits_for": longest.limit if own_word else "account",
        "reason": longest.hold_reason if longest.limit == "hold" else "",
        "scope": longest.queue,
        "eligible_in_s": longest.wait_s,
        "queue_position": position,
    }
