"""Sends the paid POST, at most once, and finds out what became of it.

The intent is durable in the record before the first byte leaves. A reply that is lost is
looked for in fal's request history (``falq.planner`` says when and what follows).
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from falq import planner
from falq.fal.client import FalClient
from falq.fal.outcomes import Accepted, Busy, Lost, NotSent, Ran, Refused
from falq.fal.replies import Output
from falq.fal.urls import RequestRef
from falq.ledger import Ledger
from falq.planner import Change
from falq.polling import backoff_s
from falq.searching import Search

PostOutcome = Accepted | Ran | NotSent | Busy | Refused | Lost

#: A submit is accepted or refused within this time, seconds.
SUBMIT_DEADLINE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class SubmitRules:
    """What to do about lost replies.

    ``grace_s`` is how long fal's history is searched for a request; ``resubmit`` is the
    setting ``on_unknown_submit``.
    """

    grace_s: float = 30.0
    resubmit: bool = False


@dataclass
class Submitter:
    """Sends one job and accounts for it."""

    client: FalClient
    ledger: Ledger
    rules: SubmitRules

    async def send(self, *, sync: bool) -> Change:
        """Write the intent, send the POST once, and give the change that follows."""
        await self.ledger.apply(planner.intent(self.ledger.record, time.time()))
        return await self._after(await self._post(sync=sync))

    async def _post(self, *, sync: bool) -> PostOutcome:
        record = self.ledger.record
        if sync:
            return await self.client.run(
                record.model_id, record.arguments, deadline_s=record.job_timeout_s
            )
        deadline_s = min(SUBMIT_DEADLINE_S, record.job_timeout_s)
        return await self.client.submit(record.model_id, record.arguments, deadline_s=deadline_s)

    async def _after(self, outcome: PostOutcome) -> Change:
        now = time.time()
        match outcome:
            case Accepted(ref, position):
                if await self.ledger.claim(ref.request_id):
                    return accepted(ref, position)
                # An equal job took ours for its own: what it left in the history is ours.
                return planner.after_lost("taken", now)
            case Ran(output):
                return ran(output)
            case Lost(kind, error, request_id, failed_at_fal):
                if failed_at_fal:
                    return planner.after_failure(error)
                return planner.after_lost(kind.value, now, error, request_id)
            case _:
                return self._after_not_taken(outcome, now)

    def _after_not_taken(self, outcome: NotSent | Busy | Refused, now: float) -> Change:
        record = self.ledger.record
        match outcome:
            case NotSent(error):
                return planner.after_not_sent(record, error, self._backoff_s())
            case Busy(retry_after_s, error):
                wait_s = retry_after_s if retry_after_s is not None else self._backoff_s()
                return planner.after_busy(record, error, wait_s, now)
            case Refused(error):
                return planner.after_refused(error)

    def _backoff_s(self) -> float:
        return backoff_s(self.ledger.record.attempts + 1, random.random())  # noqa: S311  # jitter

    async def look_up(self) -> Change:
        """Search fal's history for the request whose reply was lost.

        Gives the change that follows: found, or what its absence means.
        """
        if self.ledger.record.lost_at is None:
            await self.ledger.apply(planner.after_lost("died", time.time()))
        sight = await Search(self.client, self.ledger).throughout(self.rules.grace_s)
        if sight.request_id is not None:
            return planner.after_found(sight.request_id)
        return planner.after_not_found(
            self.ledger.record,
            absent=sight.absent,
            why=sight.why,
            resubmit=self.rules.resubmit,
            wait_s=self._backoff_s(),
        )


def ran(output: Output) -> Change:
    """Give the change after a sync run: its result is kept before anything else happens."""
    fields = {
        "request_id": output.request_id,
        "result": output.output,
        "billable_units": output.billable_units,
    }
    return Change(to="downloading", fields=fields)


def accepted(ref: RequestRef, position: int | None = None) -> Change:
    """Give the change after fal took a request: everything needed to follow it later."""
    fields: dict[str, Any] = {
        "request_id": ref.request_id,
        "status_url": ref.status_url,
        "response_url": ref.response_url,
        "cancel_url": ref.cancel_url,
    }
    return Change(to="submitted", fields=fields, event={"fal_queue_position": position})
