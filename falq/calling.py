"""Enqueues a call and waits for it, from any process that reaches the Redis.

Nothing here imports rq or httpx: a wrapper's run time is mostly start-up.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from redis import Redis

from falq import enqueue as door
from falq import presence
from falq.canonical import fingerprint
from falq.errors import FalqError, MissingKeyError, RedisUnavailableError, UnreachableError
from falq.files.spec import OutputSpec
from falq.journal import Journal
from falq.model_id import queue_name
from falq.phases import TERMINAL, Phase
from falq.queue_config import QueueConfig
from falq.record import JobRecord
from falq.redis_link import connect, translate_redis_errors
from falq.settings import Settings

_T = TypeVar("_T")
OnEvent = Callable[[Mapping[str, Any]], None]
#: Longest wait for one event, seconds; then the record, the worker and the caller's own
#: presence are looked at again.
_BLOCK_S = 2.0
#: A queued job that no worker serves is reported so often, seconds.
_NOBODY_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """One call as a caller wants it.

    ``sync`` runs it through fal's sync API. ``fixed_poll_s`` and ``max_polls`` override how
    fal is watched. ``fresh`` never attaches to an equal call. ``nonce`` lies in the output
    directory (``falq.meeting``).
    """

    model_id: str
    arguments: dict[str, Any]
    output: OutputSpec
    skill: str = "falq"
    config: QueueConfig = field(default_factory=QueueConfig)
    sync: bool = True
    priority: str = "normal"
    fresh: bool = False
    idempotency_key: str | None = None
    fixed_poll_s: float | None = None
    max_polls: int | None = None
    nonce: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the worker must know beyond model and arguments; JSON-able."""
        return {
            "output": self.output.to_dict(),
            "poll_interval_s": self.config.poll_interval,
            "fixed_poll_s": self.fixed_poll_s,
            "max_polls": self.max_polls,
            "nonce": self.nonce,
        }

    def to_record(self, job_id: str, account: str) -> JobRecord:
        """Give the record with which the job starts."""
        return JobRecord(
            job_id=job_id,
            account=account,
            queue=queue_name(self.skill, self.model_id),
            skill=self.skill,
            model_id=self.model_id,
            arguments=self.arguments,
            options=self.options,
            mode="sync" if self.sync else "queue",
            priority=self.priority,
            created_at=time.time(),
            job_timeout_s=self.config.job_timeout,
        )


def new_job_id() -> str:
    """Give a job id: time first, so that ids sort by age (UUID version 7)."""
    stamp = int(time.time() * 1000).to_bytes(6, "big")
    raw = bytearray(stamp + secrets.token_bytes(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


class Caller:
    """A caller's side of the queue; a context manager.

    Args:
        settings: Where Redis is and whose account pays.
        start_worker: Starts a background worker for the account; called on an embedded
            server when nobody serves it.
        needs_key: An embedded queue without a key can be looked at, but not be used.

    Raises:
        RedisUnavailableError: Redis cannot be reached; nothing was enqueued.
    """

    def __init__(
        self,
        settings: Settings,
        start_worker: Callable[[], None] | None = None,
        *,
        needs_key: bool = True,
    ) -> None:
        self.settings = settings
        self._start_worker = start_worker if settings.embedded else None
        if needs_key and settings.embedded and settings.key is None:
            raise MissingKeyError("no key: FAL_KEY is not set")
        self.redis: Redis = connect(settings, role="caller")
        self.journal = Journal(self.redis, settings.account)
        with translate_redis_errors():
            self.redis.ping()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()

    def enqueue(self, request: CallRequest, *, job_id: str, attended: bool) -> door.Enqueued:
        """Enqueue a call, or attach to an equal earlier one; safe to repeat with its job_id.

        Args:
            request: The call.
            job_id: Of a new job; the caller chooses it, so that it is known whatever fails.
            attended: Somebody waits for it from this moment on.
        """
        record = request.to_record(job_id, self.settings.account)
        new = door.NewJob(
            job_id=job_id,
            account=record.account,
            queue=record.queue,
            skill=record.skill,
            model_id=record.model_id,
            arguments=record.arguments,
            options=record.options,
            mode=record.mode,
            priority=record.priority,
            limits=request.config.limits_for(request.model_id),
            job_timeout_s=record.job_timeout_s,
            fingerprint=fingerprint(
                record.account, record.model_id, record.arguments, request.output.to_dict()
            ),
            idempotency_key=request.idempotency_key,
            fresh=request.fresh,
            account_max_concurrent=self.settings.account_max_concurrent,
            attended=attended,
        )
        with translate_redis_errors():
            enqueued = door.enqueue(self.redis, new)
        self.see_to_worker()
        return enqueued

    def see_to_worker(self) -> bool:
        """Tell whether a worker serves the account; on an embedded server start one."""
        with translate_redis_errors():
            served = presence.is_served(self.redis, self.settings.account)
        if not served and self._start_worker is not None:
            self._start_worker()
            return True
        return served

    def get(self, job_id: str) -> JobRecord:
        """Read a job's record.

        Raises:
            UsageError: There is none.
        """
        with translate_redis_errors():
            return self.journal.get(job_id)

    def cancel(self, job_id: str) -> Phase | None:
        """Cancel a job or ask its worker to; give the phase it was in."""
        with translate_redis_errors():
            return self.journal.cancel(job_id)

    def resolve(self, job_id: str, how: str, request_id: str | None) -> None:
        """Decide about a job whose outcome is unknown."""
        with translate_redis_errors():
            self.journal.resolve(job_id, how, request_id)
        self.see_to_worker()

    def position(self, record: JobRecord) -> int | None:
        """Give how many jobs of its queue are ahead."""
        with translate_redis_errors():
            return self.journal.position(record)

    def delivered(self, job_id: str) -> None:
        """Note that a result reached its caller; a queue that is away may forget it."""
        with contextlib.suppress(RedisUnavailableError), translate_redis_errors():
            self.journal.deliver(job_id)

    def leave(self, job_id: str) -> None:
        """Say that nobody waits any more: an equal call may attach to the job."""
        with contextlib.suppress(RedisUnavailableError), translate_redis_errors():
            door.leave_caller(self.redis, job_id)

    def wait(
        self,
        job_id: str,
        *,
        wait_s: float | None = None,
        idle_timeout_s: float = 0.0,
        on_event: OnEvent | None = None,
    ) -> JobRecord:
        """Wait for a job's end, or for ``wait_s`` seconds; then give its record as it is.

        Redis may go away and come back meanwhile.

        Raises:
            UsageError: There is no such job.
            UnreachableError: Nothing was heard of the job for ``idle_timeout_s`` (0: for ever).
        """
        watch = Watch(self, job_id, on_event or (lambda _: None))
        return watch.until_end(wait_s, idle_timeout_s)


@dataclass
class Watch:
    """One caller's watch over one job."""

    caller: Caller
    job_id: str
    on_event: OnEvent
    cursor: str = "0-0"
    heard_at: float = field(default_factory=time.monotonic)
    touched_at: float = field(default_factory=time.monotonic)
    warned_at: float | None = None

    def until_end(self, wait_s: float | None, idle_timeout_s: float) -> JobRecord:
        """Follow the events until the job ends or the time is over."""
        until = None if wait_s is None else time.monotonic() + wait_s
        record = self._look()
        while record is None or record.phase not in TERMINAL | {Phase.UNKNOWN}:
            left_s = _BLOCK_S if until is None else min(_BLOCK_S, until - time.monotonic())
            if left_s <= 0 and record is not None:
                return record
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
            self._try(lambda: door.touch_caller(self.caller.redis, self.job_id))

    def _tend(self) -> JobRecord | None:
        """Nothing was heard: see where the job stands and whether anybody works."""
        record = self._look()
        if record is not None and record.phase == Phase.QUEUED:
            self._see_to_worker()
        return record

    def _see_to_worker(self) -> None:
        served = self._try(self.caller.see_to_worker)
        overdue = self.warned_at is None or time.monotonic() - self.warned_at > _NOBODY_EVERY_S
        if served is False and overdue:
            self.warned_at = time.monotonic()
            self.on_event({"warning": "no worker serves this account; waiting for one"})

    def _look(self) -> JobRecord | None:
        return self._try(lambda: self.caller.journal.get(self.job_id))

    def _try(self, ask: Callable[[], _T]) -> _T | None:
        """Ask Redis; while it is away, say so and go on waiting."""
        try:
            with translate_redis_errors():
                return ask()
        except RedisUnavailableError as error:
            if self.warned_at is None or time.monotonic() - self.warned_at > _NOBODY_EVERY_S:
                self.warned_at = time.monotonic()
                self.on_event({"warning": f"{error.message}; waiting for it"})
            time.sleep(0.5)
            return None

    def _idle(self, idle_timeout_s: float) -> FalqError:
        return UnreachableError(
            f"nothing was heard of the job for {idle_timeout_s:g} s (client_idle_timeout)",
            "the job goes on; falq wait JOB attaches to it again",
            job_id=self.job_id,
        )
