"""A job's record in Redis, as the pipeline sees it: durable before each act, fenced, patient.

Redis may be away for any time: what must be written is tried until it is, or until another
worker holds the job. Each write carries the token of our grant, so repeating one whose
reply was lost changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, NoReturn, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from falq.admission import Admission
from falq.batches import Batches
from falq.journal import FencedError, IllegalTransitionError, Journal
from falq.ledger import HeldElsewhereError, stamp
from falq.phases import TERMINAL, Phase
from falq.planner import Change
from falq.polling import backoff_s
from falq.record import JobRecord
from falq.rivals import awaited_alike
from falq.scripts import ScriptCall, UnacknowledgedError
from workers.spacing import Spacing
from workers.threads import Threads

log = logging.getLogger("falq.worker")

_T = TypeVar("_T")
#: A process that slept longer than this between intent and first byte does not send: its
#: lease may be over and another worker may be looking the request up, seconds.
INTENT_MARGIN_S = 4.0
#: How long a queue is held when no replica has acknowledged an intent, seconds.
REPLICA_HOLD_S = 5.0


class JournalLedger:
    """The ledger of one grant.

    Args:
        journal: The records.
        admission: Keeps scopes closed after a 429.
        record: As it was read after the grant.
        threads: Where blocking calls run.
        calls: Makes calls of scripts together with those of other jobs.
        redis: Where equal jobs are looked for.
        spacing: Of this process' paid POSTs.
    """

    def __init__(
        self,
        journal: Journal,
        admission: Admission,
        record: JobRecord,
        *,
        threads: Threads,
        calls: Batches[ScriptCall[Any]],
        redis: Redis,
        spacing: Spacing,
    ) -> None:
        self.record = record
        self.cancel_asked = asyncio.Event()
        if record.cancel_requested:
            self.cancel_asked.set()
        self._journal = journal
        self._admission = admission
        self._threads = threads
        self._calls = calls
        self._redis = redis
        self._spacing = spacing

    def _log(self, level: int, text: str) -> None:
        """Log an event of the job; its end is logged by whoever shows it to RQ's tools."""
        record = self.record
        if record.phase in TERMINAL | {Phase.UNKNOWN}:
            return
        facts = {
            "job_id": record.job_id, "request_id": record.request_id, "queue": record.queue,
            "model_id": record.model_id, "phase": record.phase,
        }  # fmt: skip
        log.log(level, "%s", text, extra=facts)

    def ask_cancel(self) -> None:
        """Somebody wants the job cancelled."""
        self.record = self.record.changed(cancel_requested=True)
        self.cancel_asked.set()

    async def apply(self, change: Change, outcome: Mapping[str, Any] | None = None) -> bool:
        """Write a change; see ``falq.ledger.Ledger.apply``."""
        sends = change.to == Phase.SUBMITTING and "submits" in change.fields
        if sends:
            # Before the intent: a job that waits here and loses its worker was surely not sent.
            interval_s = float(self.record.options.get("start_interval_s") or 0.0)
            await self._spacing.keep(self.record.queue, interval_s)
        asked_at = time.monotonic()
        moved_on = change.to != self.record.phase
        moved = stamp(change.to) if moved_on else {}
        fields = {**moved, **change.fields}
        await self._hold(change)
        try:
            await self._write(change, fields, outcome)
        except UnacknowledgedError:
            await self._give_back(REPLICA_HOLD_S, "no replica of Redis acknowledges")
        if sends:
            await self._check_awake(asked_at)
        if change.error is not None:
            fields["error"] = change.error.to_dict()
        if outcome is not None:
            fields["outcome"] = dict(outcome)
        known = {name: v for name, v in fields.items() if hasattr(self.record, name)}
        self.record = self.record.changed(phase=change.to, **known)
        if moved_on:
            self._log(logging.INFO, _told(change))
        return change.to not in TERMINAL | {Phase.QUEUED, Phase.UNKNOWN}

    async def _write(
        self, change: Change, fields: Mapping[str, Any], outcome: Mapping[str, Any] | None
    ) -> None:
        job_id, token, to = self.record.job_id, self.record.token, Phase(change.to)
        event = change.event if outcome is None else None
        if outcome is not None and change.error is not None:
            fields = {**fields, "error": change.error.to_dict()}
        call = self._journal.advancing(
            job_id, token, to, fields=fields, event=event, outcome=outcome
        )
        await self._surely(partial(self._calls.do, call))

    async def _check_awake(self, asked_at: float) -> None:
        """Take an intent back that is too old to act on; nothing was sent yet."""
        if time.monotonic() - asked_at > INTENT_MARGIN_S:
            await self._give_back(None, "")

    async def _give_back(self, hold_s: float | None, reason: str) -> NoReturn:
        """Take an intent back: nothing was sent, the job waits again."""
        fields = {"submits": self.record.submits}
        back = Change(to=Phase.QUEUED, fields=fields, hold_s=hold_s, hold_reason=reason)
        await self._hold(back)
        await self._write(back, fields, None)
        raise HeldElsewhereError

    async def _hold(self, change: Change) -> None:
        if change.hold_s is None:
            return
        scope = "@" if change.hold_scope == "account" else self.record.queue
        await self._surely_in_thread(self._admission.hold, scope, change.hold_s, change.hold_reason)

    async def _surely_in_thread(self, ask: Callable[..., _T], *args: Any) -> _T:
        return await self._surely(partial(self._threads.run, ask, *args))

    async def _surely(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat a question until Redis has answered it.

        Raises:
            HeldElsewhereError: The job is not ours any more, or stands elsewhere by now.
        """
        attempt = 0
        while True:
            try:
                return await ask()
            except (FencedError, IllegalTransitionError) as error:
                raise HeldElsewhereError from error
            except RedisError:
                attempt += 1
                await asyncio.sleep(backoff_s(attempt, 0.5, first_s=0.1, longest_s=3.0))

    async def note(self, event: Mapping[str, Any]) -> None:
        """Tell those who watch; lost while Redis is away."""
        if "warning" in event:
            self._log(logging.WARNING, str(event["warning"]))
        elif "cancel" in event:
            self._log(logging.INFO, f"cancel: {event['cancel']}")
        try:
            await self._threads.run(self._journal.note, self.record.job_id, dict(event))
        except RedisError:
            return

    async def claim(self, request_id: str) -> bool:
        """Claim a request of fal's history for this job."""
        call = self._journal.claiming(self.record.job_id, request_id, self.record.token)
        claimed: bool = await self._surely(partial(self._calls.do, call))
        return claimed

    async def owned_by_others(self, request_ids: Collection[str]) -> set[str]:
        """Give those of the requests that belong to other jobs."""
        if not request_ids:
            return set()
        owned = await self._surely_in_thread(self._journal.owners, list(request_ids))
        return {each for each, owner in owned.items() if owner != self.record.job_id}

    async def awaited_alike(self) -> list[float]:
        """Give when other jobs with equal arguments sent whose reply may still come."""
        return await self._surely_in_thread(awaited_alike, self._redis, self.record)


def _told(change: Change) -> str:
    """Say where a change leads, and for one that leads back, why and for how long."""
    if change.hold_s is None or not change.hold_reason:
        return change.to
    whose = "the account" if change.hold_scope == "account" else "the queue"
    return f"{change.to}: {change.hold_reason}; {whose} is held for {change.hold_s:.1f} s"
