"""Decides what a job does next; pure, so that every order of faults can be tried in memory.

Theory of operation
-------------------
A job is a record (journal) that outlives every process. ``next_step`` looks at the record
and the clock and names the one thing to do; the pipeline does it and tells the outcome to
one of the ``after_…`` functions, which name the change of the record. Nothing here waits,
sends or writes.

The one rule that matters: **a paid POST is sent at most once unless it is proved that fal
did not take the one before.** The record says ``submitting`` before the first byte leaves.
A record found in that phase without an outcome belongs to a worker that died or was
paused: it is looked up in fal's request history, never sent.

    queued ──intent──► submitting ──accepted──► submitted ──► running ──► downloading ──► done
      ▲                    │  │                                               ▲
      └── not sent, 429 ───┘  ├── reply of a sync run ────────────────────────┘
                              ├── refused ──► failed
                              └── lost ──► look-up: found ─► submitted
                                                    not found after 405: the sync API, once
                                                    not found after 5xx: one more submit, ≤ 3
                                                    else ─► unknown (a person decides)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from falq.errors import (
    ERROR_TYPES,
    AccountError,
    BalanceError,
    FalqError,
    JobCancelledError,
    JobTimeoutError,
    NetworkError,
    UnknownOutcomeError,
)
from falq.record import JobRecord

#: Paid POSTs of one job at most, each after a proof that fal did not keep the one before.
MAX_SUBMITS = 3
#: Attempts at a connection before a job whose request never left is failed.
MAX_UNSENT = 5
#: Look-ups in fal's history, as parts of the grace period.
LOOK_UP_PARTS = (0.0, 0.02, 0.05, 0.1, 0.17, 0.27, 0.4, 0.57, 0.77, 1.0)
#: Looks at a result endpoint that refuses (405, 404) before the history has to serve.
MAX_REFUSED_LOOKS = 4
#: The loss of a request that somebody asks for by hand: found or not, it is never sent again.
ASKED = "asked"
#: How long a key that fal refused keeps its account from sending more, seconds.
ACCOUNT_HOLD_S = 15.0


class Step(Enum):
    """What to do next."""

    SUBMIT = "submit to fal's queue"
    RUN = "run through the sync API"
    LOOK_UP = "look the lost request up in fal's history"
    FOLLOW = "follow the request at fal"
    DOWNLOAD = "save the artifacts of the result"
    CANCEL_UNSENT = "end: cancelled before anything was sent"
    STOP = "nothing is left to do"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of the record: a new phase, its fields, and for an end its error.

    ``hold_s`` asks admission to keep the ``hold_scope`` closed that long.
    """

    to: str
    fields: dict[str, Any]
    error: FalqError | None = None
    event: dict[str, Any] | None = None
    hold_s: float | None = None
    hold_scope: Literal["queue", "account"] = "queue"
    hold_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Again:
    """Nothing to change yet: look once more after ``wait_s``."""

    wait_s: float


def next_step(view: JobRecord) -> Step:
    """Name the next thing to do for a job that this worker holds."""
    if view.phase == "queued":
        if view.cancel_requested:
            return Step.CANCEL_UNSENT
        return Step.RUN if view.mode == "sync" or view.fallback else Step.SUBMIT
    if view.phase == "submitting":
        return Step.LOOK_UP
    if view.phase in ("submitted", "running"):
        return Step.FOLLOW
    return Step.DOWNLOAD if view.phase == "downloading" else Step.STOP


def intent(view: JobRecord, now: float) -> Change:
    """Give the change that must be durable before the first byte of a POST."""
    first = now if view.first_submit_at is None else view.first_submit_at
    fields: dict[str, Any] = {
        "submits": view.submits + 1,
        "submitting_at": now,
        "first_submit_at": first,
    }
    fields |= {"loss": None, "lost_at": None, "loss_message": None, "request_id": None}
    # A sync run answers when it is over: whoever waits must not think that it is being sent.
    told = {"sync": True} if view.mode == "sync" or view.fallback else None
    return Change(to="submitting", fields=fields, event=told)


def after_not_sent(view: JobRecord, error: FalqError, wait_s: float) -> Change:
    """Decide after a connection that was never made: nothing was sent, nothing is owed."""
    fields = {"attempts": view.attempts + 1, "unsent": view.unsent + 1}
    if view.unsent + 1 >= MAX_UNSENT:
        return Change(to="failed", fields=fields, error=error)
    return Change(
        to="queued",
        fields=fields | {"submits": view.submits - 1},
        hold_s=wait_s,
        hold_reason="fal cannot be reached",
    )


def after_busy(view: JobRecord, error: FalqError, wait_s: float, now: float) -> Change:
    """Decide after a 429: fal did not take the request; cool down and go to the front again."""
    started_at = _began_at(view, view.first_submit_at, now)
    if now + wait_s - started_at > view.job_timeout_s:
        return Change(to="failed", fields={}, error=_out_of_time_unsent(error))
    return Change(
        to="queued",
        fields={"attempts": view.attempts + 1, "unsent": 0, "submits": view.submits - 1},
        hold_s=wait_s,
        hold_scope="account" if _is_account_limit(error) else "queue",
        hold_reason="fal answered 429",
    )


def _is_account_limit(error: FalqError) -> bool:
    return "concurren" in f"{error.message} {error.detail}".lower()


def _out_of_time_unsent(error: FalqError) -> FalqError:
    return JobTimeoutError(
        f"fal did not take the request in the job's time: {error.message}",
        "nothing was sent that could be billed; repeat the call later",
        retryable=True,
        may_be_billed=False,
    )


def after_refused(error: FalqError) -> Change:
    """Decide after a final refusal: failed with fal's words; a refused key holds its account."""
    if isinstance(error, AccountError):
        return Change(
            to="failed",
            fields={},
            error=error,
            hold_s=ACCOUNT_HOLD_S,
            hold_scope="account",
            hold_reason=_account_reason(error),
        )
    return Change(to="failed", fields={}, error=error)


def _account_reason(error: AccountError) -> str:
    if isinstance(error, BalanceError):
        return "fal says that the balance is used up"
    return "fal refused the key"


def after_lost(
    loss: str, now: float, error: FalqError | None = None, request_id: str | None = None
) -> Change:
    """Remember that a reply was lost; the look-up decides what it means.

    A request id that a header told before the reply was lost makes the look-up sure.
    """
    fields: dict[str, Any] = {"loss": loss, "lost_at": now}
    if error is not None:
        fields["loss_message"] = error.message
    if request_id is not None:
        fields["request_id"] = request_id
    return Change(to="submitting", fields=fields)


def after_failure(error: FalqError) -> Change:
    """End a request that failed at fal; one that was cancelled ends as cancelled."""
    to = "cancelled" if isinstance(error, JobCancelledError) else "failed"
    return Change(to=to, fields={}, error=error)


def look_up_wait_s(elapsed_s: float, grace_s: float, tries: int) -> float | None:
    """Give the wait before the next look-up, or None when the grace period is over."""
    if tries >= len(LOOK_UP_PARTS):
        return None
    return max(0.0, LOOK_UP_PARTS[tries] * grace_s - elapsed_s)


def after_found(request_id: str) -> Change:
    """Go on with the request that the history showed; it is claimed for the job."""
    fields = {"request_id": request_id, "recovered": True, "loss": None, "lost_at": None}
    return Change(to="submitted", fields=fields)


def after_not_found(
    view: JobRecord, *, absent: bool, why: str = "", resubmit: bool = False, wait_s: float = 0.0
) -> Change:
    """Decide when the grace period is over and the request was not found.

    Args:
        view: The record, phase ``submitting``.
        absent: The history proves that fal did not keep it.
        why: Why it proves nothing.
        resubmit: The setting ``on_unknown_submit: resubmit``.
        wait_s: Backoff before one more submit.
    """
    if view.loss == ASKED:
        return Change(to="unknown", fields={}, error=_unknown(view, why))
    if absent and view.loss == "method_not_allowed":
        if view.fallback or view.mode == "sync":
            return Change(to="failed", fields={}, error=_refused_method(view))
        return Change(to="queued", fields={"fallback": True})
    if absent and (resubmit or view.loss == "server_error"):
        if view.submits < MAX_SUBMITS:
            fields = {"request_id": None}
            return Change(to="queued", fields=fields, hold_s=wait_s, hold_reason="fal answered 5xx")
        return Change(to="failed", fields={}, error=_gave_up(view))
    return Change(to="unknown", fields={}, error=_unknown(view, why))


def _refused_method(view: JobRecord) -> FalqError:
    return NetworkError(
        f"fal's endpoints refuse {view.model_id}: {_said(view)}", "check the model id"
    )


def _gave_up(view: JobRecord) -> FalqError:
    return NetworkError(
        f"fal failed to take the request {view.submits} times: {_said(view)}",
        "nothing of it is in fal's request history; repeat the call later",
    )


def _unknown(view: JobRecord, why: str) -> FalqError:
    told = f"{_said(view)}; {why}" if why else _said(view)
    return UnknownOutcomeError(
        f"sent, but what became of it is unknown: {told}",
        "it is not sent again; falq result JOB looks once more, "
        "falq resolve JOB --resend|--fail|--request-id ID decides",
    )


def _said(view: JobRecord) -> str:
    return view.loss_message or f"the reply was lost ({view.loss or 'died'})"


def out_of_time(view: JobRecord, now: float, polls: int, max_polls: int | None) -> FalqError | None:
    """Give the timeout error of a job that fal still runs, or None while it has time."""
    late = time_left_s(view, now) <= 0
    worn = max_polls is not None and polls >= max_polls
    if not late and not worn:
        return None
    limit = f"{view.job_timeout_s:g} s" if late else f"{max_polls} polls"
    return JobTimeoutError(
        f"not finished after {limit}; request {view.request_id} may still run at fal",
        "falq result JOB fetches it when it is done, without a new call",
        may_be_billed=True,
    )


def time_left_s(view: JobRecord, now: float) -> float:
    """Give how long a request may still be followed, 0 when its time is over.

    >>> time_left_s(JobRecord(job_id="j", submitting_at=10.0, job_timeout_s=60.0), now=30.0)
    40.0
    """
    return max(0.0, _began_at(view, view.submitting_at, now) + view.job_timeout_s - now)


def _began_at(view: JobRecord, began_at: float | None, now: float) -> float:
    """Give when a job's time began: at its first step, or when somebody asked once more."""
    began_at = now if began_at is None else began_at
    return began_at if view.resumed_at is None else max(began_at, view.resumed_at)


def cancelled(*, may_be_billed: bool) -> FalqError:
    """Give the error of a job that somebody cancelled."""
    if may_be_billed:
        return JobCancelledError(
            "cancelled after it was sent",
            "what fal had already done may be billed",
            may_be_billed=True,
        )
    return JobCancelledError("cancelled before anything was sent", "nothing is billed")


def error_name(error: FalqError) -> str:
    """Give the type name under which an error travels.

    >>> error_name(JobCancelledError("x"))
    'JobCancelledError'
    """
    name = type(error).__name__
    return name if name in ERROR_TYPES else "FalqError"
