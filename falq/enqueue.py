"""The door to the queue for callers: one round trip enqueues, another listens.

Imports no rq (``falq.rq_view``): a wrapper's run time is mostly start-up.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from redis import Redis

from falq import __version__, keys
from falq.canonical import call_hash
from falq.errors import UsageError
from falq.exchange import Argument
from falq.limits import Limits, limit_arguments
from falq.phases import Phase
from falq.record import write_fields
from falq.rq_view import rq_fields
from falq.scripts import Scripts

LANES = {"high": 0, "normal": 1, "low": 2}
#: Marks a caller that is subscribed to the job's channel: gone as soon as its connection is.
LISTENS = "listens:"
#: A caller is gone when it was silent so long, seconds.
CALLER_S = 10


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to enqueue.

    ``account`` '' leaves it to the first worker that looks. ``fal`` is the origin that stands
    in for fal, if any: an idempotency key means one job there. ``attended`` says that somebody
    waits for it from now on, ``listens`` that the caller has subscribed to its channel
    (``keys.caller``), so that its death shows at once.
    """

    job_id: str
    account: str
    queue: str
    skill: str
    model_id: str
    arguments: dict[str, Any]
    options: dict[str, Any]
    mode: str
    priority: str
    limits: Limits
    job_timeout_s: float
    fingerprint: str
    fal: str = ""
    idempotency_key: str | None = None
    fresh: bool = False
    account_max_concurrent: int | None = None
    attended: bool = False
    listens: bool = False


@dataclass(frozen=True, kw_only=True)
class Enqueued:
    """What became of a call at the door."""

    job_id: str
    deduplicated: bool
    phase: Phase


def enqueue(redis: Redis, new: NewJob, scripts: Scripts | None = None) -> Enqueued:
    """Enqueue a job, or attach to an equal one; all or nothing, safe to repeat.

    Raises:
        UsageError: The idempotency key was used with other arguments or another model.
    """
    hashed = call_hash(new.model_id, new.arguments)
    run = (scripts or Scripts(redis)).run
    how, job_id, phase, other = run("enqueue", _script_arguments(new, hashed))
    if how == b"KEY" and other.decode() != hashed:
        raise UsageError(
            f"--idempotency-key {new.idempotency_key} was used for another call",
            "the same key means the same model and arguments; choose another key",
            job_id=job_id.decode(),
        )
    return Enqueued(
        job_id=job_id.decode(),
        deduplicated=how in (b"KEY", b"ATTACHED"),
        phase=Phase(phase.decode()),
    )


def _script_arguments(new: NewJob, hashed: str) -> list[Argument]:
    record = _record_fields(new, hashed)
    cap = "" if new.account_max_concurrent is None else new.account_max_concurrent
    key = "" if new.idempotency_key is None else f"{new.fal}:{new.idempotency_key}"
    return [
        new.account, new.job_id, new.queue, LANES[new.priority], key,
        new.fingerprint, int(new.fresh), _presence(new), hashed, *limit_arguments(new.limits),
        cap, len(record) // 2, *record, *rq_fields(new.job_id, new.queue, new.model_id),
    ]  # fmt: skip


def _presence(new: NewJob) -> int:
    return 0 if not new.attended else 2 if new.listens else 1


def _record_fields(new: NewJob, hashed: str) -> list[Argument]:
    fields = write_fields(
        {
            "account": new.account,
            "queue": new.queue,
            "skill": new.skill,
            "model_id": new.model_id,
            "arguments": new.arguments,
            "arguments_hash": hashed,
            "options": new.options,
            "mode": new.mode,
            "priority": new.priority,
            "phase": Phase.QUEUED.value,
            "created_at": time.time(),
            "job_timeout_s": new.job_timeout_s,
            "version": __version__,
        }
    )
    return [part for pair in fields.items() for part in pair]


def touch_caller(redis: Redis, job_id: str, *, listens_as: str | None = None) -> None:
    """Say that somebody still waits for a job, and on which channel it listens."""
    value = "1" if listens_as is None else LISTENS + listens_as
    redis.set(keys.caller(job_id), value, ex=CALLER_S)


def leave_caller(redis: Redis, job_id: str) -> None:
    """Say that nobody waits for a job any more: an equal call may attach to it."""
    redis.delete(keys.caller(job_id))


def read_events(
    redis: Redis, job_id: str, after: str, block_s: float
) -> list[tuple[str, dict[str, Any]]]:
    """Wait for the next events of a job, at most ``block_s`` seconds; oldest first."""
    block_ms = max(1, round(block_s * 1000))
    replies: Any = redis.xread({keys.events(job_id): after}, count=200, block=block_ms)
    entries = replies[0][1] if replies else []
    return [(entry.decode(), _event(data)) for entry, data in entries]


def _event(data: dict[bytes, bytes]) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(data.get(b"e", b"{}"))
    return event
