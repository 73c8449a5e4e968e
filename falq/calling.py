"""Enqueues a call and waits for it, from any process that reaches the Redis.

Nothing here imports rq or httpx: a wrapper's run time is mostly start-up.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from redis import Redis

from falq import enqueue as door
from falq import keys, presence
from falq.canonical import fingerprint
from falq.errors import FalqError, MissingKeyError, RedisUnavailableError, UsageError
from falq.files.spec import OutputSpec
from falq.journal import Journal
from falq.listening import Listening
from falq.model_id import queue_name
from falq.phases import Phase
from falq.planner import ASKED
from falq.queue_config import QueueConfig
from falq.record import JobRecord
from falq.redis_link import connect, translate_redis_errors
from falq.settings import Settings
from falq.under_way import UnderWay
from falq.watching import RETRY_S, OnEvent, Watch

#: A call whose enqueueing got no reply is tried again for so long, seconds.
ENQUEUE_S = 10.0


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
            "start_interval_s": self.config.start_interval,
            "fixed_poll_s": self.fixed_poll_s,
            "max_polls": self.max_polls,
            "nonce": self.nonce,
        }

    def fingerprint(self, settings: Settings) -> str:
        """Name the whole call: at which fal, what, with which arguments, into which files."""
        output = self.output.to_dict()
        return fingerprint(settings.fal_url or "", self.model_id, self.arguments, output)

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
        self._listening = Listening(self.redis)
        self._under_way = UnderWay(settings.home)
        with translate_redis_errors():
            self.redis.ping()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self.redis.close()

    def enqueue(self, request: CallRequest, *, job_id: str, attended: bool) -> door.Enqueued:
        """Enqueue a call, or attach to an equal earlier one; safe to repeat with its job_id.

        Args:
            request: The call.
            job_id: Of a new job; the caller chooses it, so that it is known whatever fails.
            attended: Somebody waits for it from this moment on.
        """
        record = request.to_record(job_id, self.settings.account)
        listens = attended and self._listening.to(job_id)
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
            fingerprint=request.fingerprint(self.settings),
            fal=self.settings.fal_url or "",
            idempotency_key=request.idempotency_key,
            fresh=request.fresh,
            account_max_concurrent=self.settings.account_max_concurrent,
            attended=attended,
            listens=listens,
        )
        enqueued = self._noted(new)
        if listens:
            self._listening.also_to(enqueued.job_id)
        self._see_to_worker_of(enqueued.job_id)
        return enqueued

    def _noted(self, new: door.NewJob) -> door.Enqueued:
        """Enqueue with a note of it in the home, for the time when Redis cannot be asked."""
        self._under_way.note(new.job_id, new.fingerprint)
        try:
            enqueued = self._enqueue(new)
        except RedisUnavailableError as error:
            if error.refused:
                self._under_way.drop(new.job_id)
            raise
        except UsageError:
            self._under_way.drop(new.job_id)
            raise
        if enqueued.job_id != new.job_id:
            self._under_way.note(enqueued.job_id, new.fingerprint)
            self._under_way.drop(new.job_id)
        return enqueued

    def _enqueue(self, new: door.NewJob) -> door.Enqueued:
        """Ask again where a reply was lost: the same job_id is never enqueued twice.

        A refusal is certain only of the attempt that met it: after a lost reply it says
        nothing about the attempt before.
        """
        give_up_at, lost = time.monotonic() + ENQUEUE_S, False
        while True:
            try:
                with translate_redis_errors():
                    return door.enqueue(self.redis, new)
            except RedisUnavailableError as error:
                error.refused = error.refused or self._surely_refused(error, new.job_id)
                if error.refused and not lost:
                    raise
                lost = True
                if not error.retryable or time.monotonic() > give_up_at:
                    raise _perhaps_enqueued(error, new.job_id) from error
                time.sleep(RETRY_S)
                self.revive()

    def _surely_refused(self, error: RedisUnavailableError, job_id: str) -> bool:
        """Tell whether a script that lacked rights stopped before it wrote the job."""
        from redis.exceptions import NoPermissionError, RedisError

        if error.retryable:
            return False
        try:
            return not self.redis.exists(keys.job(job_id))
        except NoPermissionError:
            return True
        except RedisError:
            return False

    def _see_to_worker_of(self, job_id: str) -> None:
        """See to a worker for a job that is enqueued: whatever fails here, it stays enqueued."""
        try:
            self.see_to_worker()
        except RedisUnavailableError:
            # Whoever waits looks again; who does not wait has the ticket.
            return
        except FalqError as error:
            error.hint = f"the job waits: falq wait JOB, or falq cancel JOB; {error.hint}"
            error.about(job_id=job_id)
            raise

    def revive(self) -> None:
        """Start an embedded server that was killed; elsewhere Redis comes back by itself."""
        if self.settings.embedded:
            from falq.embedded import revive_server

            with contextlib.suppress(FalqError):
                revive_server(self.settings.home)

    def see_to_worker(self) -> bool:
        """Tell whether a worker serves the account; on an embedded server start one."""
        with translate_redis_errors():
            served = presence.is_served(self.redis, self.settings.account)
            if self._start_worker is None:
                return served
            worker = self.redis.get(keys.alive(self.settings.account))
        if worker is None or not presence.lives_here(bytes(worker).decode()):  # type: ignore[arg-type]
            self._start_worker()
        return True

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

    def ask_again(self, record: JobRecord, output: OutputSpec, nonce: str | None) -> None:
        """Have a worker ask fal once more for a job that ended without its result.

        Its request is followed, or looked up in fal's history; nothing is sent again.

        Raises:
            UsageError: The job goes on already.
        """
        now = time.time()
        fields: dict[str, Any] = {
            "options": record.options
            | {"output": output.to_dict(), "nonce": nonce, "max_polls": None},
            "loss": ASKED,
            "lost_at": now,
            "resumed_at": now,
        }
        known = record.request_id is not None and record.phase != Phase.UNKNOWN
        to = Phase.SUBMITTED if known else Phase.SUBMITTING
        with translate_redis_errors():
            self.journal.reopen(record.job_id, to, fields)
        self.see_to_worker()

    def stay_present(self, job_id: str) -> None:
        """Say that somebody still waits for a job; equal calls do not attach to it then."""
        with translate_redis_errors():
            door.touch_caller(self.redis, job_id, listens_as=self._listening.also_to(job_id))

    def resolve(self, job_id: str, how: str, request_id: str | None) -> None:
        """Decide about a job whose outcome is unknown."""
        with translate_redis_errors():
            self.journal.resolve(job_id, how, request_id)
        self.see_to_worker()

    def position(self, record: JobRecord) -> int | None:
        """Give how many jobs of its queue are ahead; None also while Redis is away."""
        with contextlib.suppress(RedisUnavailableError), translate_redis_errors():
            return self.journal.position(record)
        return None

    def delivered(self, job_id: str) -> None:
        """Note that an outcome reached its caller; a queue that is away may forget it."""
        self._under_way.drop(job_id)
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
        known: bool = False,
    ) -> JobRecord:
        """Wait for a job's end, or for ``wait_s`` seconds; then give its record as it is.

        Redis may go away and come back meanwhile. ``known`` says that there is such a job.

        Raises:
            UsageError: There is no such job.
            UnknownOutcomeError: There was one, and Redis has forgotten it.
            UnreachableError: Nothing was heard of the job for ``idle_timeout_s`` (0: for ever).
        """
        watch = Watch(self, job_id, on_event or (lambda _: None), known=known)
        return watch.until_end(wait_s, idle_timeout_s)


def _perhaps_enqueued(error: RedisUnavailableError, job_id: str) -> RedisUnavailableError:
    return RedisUnavailableError(
        f"{error.message}; whether the job was enqueued is unknown",
        "falq wait JOB tells once Redis is back; repeating the call attaches to it",
        job_id=job_id,
        retryable=False,
        may_be_billed=True,
    )
