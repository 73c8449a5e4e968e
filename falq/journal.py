"""The journal: each job's record in Redis, changed only as the table of phases allows.

Each change carries the token of the holder's grant; a holder that was thought dead is
fenced off. With replicas, an intent to pay is acknowledged by one before it counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from redis import Redis

from falq import keys
from falq.admission import HOLD_S, LEASE_S
from falq.errors import JobCancelledError, UnknownOutcomeError, UsageError
from falq.exchange import Argument
from falq.limits import MICROSECONDS_PER_S
from falq.phases import Phase, allowed_from, reopenable_from
from falq.record import JobRecord, json_text, write_fields
from falq.records import Records
from falq.rq_view import rq_fields
from falq.scripts import ScriptCall, Scripts

#: A claimed request of fal's history stays claimed as long as fal keeps it, seconds.
OWNER_S = 30 * 86_400
#: What is known of one POST, and says nothing about the next one.
OF_ONE_POST = (
    "loss", "lost_at", "loss_message", "request_id", "status_url", "response_url", "cancel_url",
)  # fmt: skip


class FencedError(Exception):
    """Another worker holds the job; nothing was changed by this one."""


class IllegalTransitionError(Exception):
    """The job stands in a phase from which the change is not allowed; nothing changed."""


class Journal(Records):
    """The records of all jobs of one Redis.

    Args:
        redis: Bytes replies.
        account: Whose limits a change of phase frees or takes.
        scripts: For tests.

    Attributes:
        replicas: How many replicas there are; where there are any, one must have an intent
            before it counts.
    """

    def __init__(self, redis: Redis, account: str, *, scripts: Scripts | None = None) -> None:
        super().__init__(redis)
        self._account = account
        self._scripts = scripts or Scripts(redis)
        self.replicas = 0

    def advance(self, job_id: str, token: int, to: Phase, **what: Any) -> None:
        """Write a change of a job that we hold at once; see :meth:`advancing`."""
        self._scripts.do(self.advancing(job_id, token, to, **what))

    def advancing(
        self,
        job_id: str,
        token: int,
        to: Phase,
        *,
        fields: Mapping[str, Any],
        event: Mapping[str, Any] | None = None,
        outcome: Mapping[str, Any] | None = None,
    ) -> ScriptCall[None]:
        """Give the call that writes a change of a job that we hold.

        Safe to repeat when the reply was lost. A job that goes to ``queued`` or to an end is
        ours no more. What the call may raise:

        - ``FencedError``: Another holds it, or it is gone.
        - ``IllegalTransitionError``: It stands elsewhere.
        - ``UnacknowledgedError``: The intent stands in the primary alone: do not act on it.
        """
        args = [
            self._account, job_id, token, to.value, _phases(allowed_from(to)),
            round(HOLD_S * MICROSECONDS_PER_S), _json(event), _json(outcome), OWNER_S,
            *_fields(fields),
        ]  # fmt: skip
        must_wait = to == Phase.SUBMITTING and self.replicas > 0
        return ScriptCall("advance", args, partial(_check, job_id, to), must_wait)

    def note(self, job_id: str, event: Mapping[str, Any]) -> None:
        """Tell those who watch a job."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(keys.events(job_id), {"e": _json(event)}, maxlen=500, approximate=True)
            pipe.expire(keys.events(job_id), 7 * 86_400)
            pipe.execute()

    def claim_request(self, job_id: str, request_id: str) -> bool:
        """Claim a request of fal's history at once; see :meth:`claiming`."""
        return self._scripts.do(self.claiming(job_id, request_id))

    def claiming(self, job_id: str, request_id: str, token: int | None = None) -> ScriptCall[bool]:
        """Give the call that claims a request; False if another job owns it. Safe to repeat.

        With the token of a holder that lost the job meanwhile it may raise ``FencedError``:
        such a one would keep the request from the job that it belongs to.
        """
        holder: Argument = "" if token is None else token
        args: list[Argument] = [self._account, job_id, request_id, OWNER_S, holder]
        return ScriptCall("claim", args, partial(_claimed, job_id))

    def cancel(self, job_id: str) -> Phase | None:
        """Cancel a job that waits, at once; ask the holder of one that was started.

        Returns:
            The phase it was in; None if there is no such job.
        """
        account, model_id = self._origin_of(job_id)
        error = JobCancelledError(
            "cancelled before anything was sent",
            "nothing is billed",
            job_id=job_id,
            model_id=model_id,
        )
        said = self._scripts.run("cancel", [account, job_id, _json(error.to_dict())])
        return None if said == b"gone" else Phase(said.decode())

    def _origin_of(self, job_id: str) -> tuple[str, str | None]:
        """Give a job's account and its model, where they are known."""
        stored: Any = self._redis.hmget(keys.job(job_id), "account", "model_id")
        account, model_id = (value.decode() if value else None for value in stored)
        return account or self._account, model_id

    def reopen(self, job_id: str, to: Phase, fields: Mapping[str, Any]) -> None:
        """Bring an ended or unknown job back; only because a person or a tool asks for it.

        Raises:
            UsageError: There is no such job, or it cannot go there.
        """
        record = self.get(job_id)
        pairs = _fields(fields)
        said = self._scripts.run(
            "reopen",
            [
                record.account or self._account, job_id, to.value, _phases(reopenable_from(to)),
                round(LEASE_S * MICROSECONDS_PER_S), len(pairs) // 2, *pairs,
                *rq_fields(job_id, record.queue, record.model_id),
            ],
        )  # fmt: skip
        if said != b"OK":
            phase = said.decode().rpartition(":")[2].lower()
            raise UsageError(f"job {job_id} is {phase}: it cannot become {to.value}", job_id=job_id)

    def resolve(self, job_id: str, how: str, request_id: str | None = None) -> None:
        """Decide about a job whose outcome is unknown: ``resend``, ``fail`` or ``request_id``.

        ``resend`` sends it once more and may be paid twice: that is the person's decision.

        Raises:
            UsageError: It is not unknown.
        """
        record = self.get(job_id)
        if record.phase != Phase.UNKNOWN:
            raise UsageError(f"job {job_id} is {record.phase}: only an unknown one is resolved")
        if how == "resend":
            self.reopen(job_id, Phase.QUEUED, dict.fromkeys(OF_ONE_POST))
        elif how == "fail":
            error = UnknownOutcomeError(
                "given up by hand; what was sent may be billed", "", job_id=job_id
            )
            self.reopen(job_id, Phase.FAILED, {"error": error.to_dict()})
        else:
            self._adopt_request(record, request_id or "")

    def _adopt_request(self, record: JobRecord, request_id: str) -> None:
        if not self.claim_request(record.job_id, request_id):
            raise UsageError(f"request {request_id} belongs to another job")
        fields: dict[str, Any] = {"request_id": request_id, "recovered": True}
        fields |= {"loss": None, "lost_at": None, "resumed_at": time.time()}
        self.reopen(record.job_id, Phase.SUBMITTED, fields)

    def deliver(self, job_id: str) -> None:
        """Note that a result reached its caller."""
        self._scripts.run("deliver", [self._account, job_id])


def _check(job_id: str, to: Phase, said: bytes) -> None:
    text = said.decode()
    if text.startswith("ILLEGAL"):
        raise IllegalTransitionError(f"{job_id}: {text.partition(':')[2]} to {to.value}")
    if text != "OK":
        raise FencedError(f"{job_id}: {text}")


def _claimed(job_id: str, said: int) -> bool:
    if said == -1:
        raise FencedError(f"{job_id}: another holds it")
    return said == 1


def _phases(phases: Iterable[Phase]) -> str:
    return "," + ",".join(sorted(phase.value for phase in phases)) + ","


def _json(value: Mapping[str, Any] | None) -> str:
    return "" if value is None else json_text(value)


def _fields(fields: Mapping[str, Any]) -> list[Argument]:
    return [part for pair in write_fields(fields).items() for part in pair]
