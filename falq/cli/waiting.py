"""What is known about a job that somebody waits for, and the line that says it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from falq.cli.show import visible

PHASES = {
    "queued": "waiting in the queue",
    "submitting": "sending to fal",
    "submitted": "in fal's queue",
    "running": "running at fal",
    "downloading": "saving files",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "unknown": "outcome unknown",
}
#: What holds a job that waits; also shown by status and dashboard.
LIMITS = {
    "rate": "the queue's rate",
    "interval": "the start interval",
    "concurrency": "max_concurrent",
    "paused": "the queue is paused",
    "hold": "a hold",
    "account": "the account's limit",
    "worker": "a worker",
}
_FORMS = {
    "warning": "warning: {warning}",
    "log": "log: {log}",
    "cancel": "cancel: {cancel}",
    "uploaded": "uploaded {uploaded}",
}
_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A file on its way; ``of_bytes`` None: nobody said how large it is."""

    verb: str
    name: str
    done_bytes: int
    of_bytes: int | None

    @property
    def share(self) -> float | None:
        """How much is done, from 0 to 1."""
        if not self.of_bytes:
            return None
        return min(1.0, self.done_bytes / self.of_bytes)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How a job stands for its caller; times on the caller's own clock."""

    phase: str = ""
    since_at: float = 0.0
    limit: str = ""
    reason: str = ""
    whole_account: bool = False
    sync: bool = False
    eligible_at: float | None = None
    position: int | None = None
    fal_position: int | None = None
    transfer: Transfer | None = None

    def after(self, event: Mapping[str, Any], now: float) -> Waiting:
        """Give how it stands after an event; unknown ones change nothing."""
        if "phase" in event:
            return Waiting(phase=str(event["phase"]), since_at=now)
        if "waits_for" in event:
            left_s = event.get("eligible_in_s")
            return replace(
                self,
                limit=str(event["waits_for"]),
                reason=visible(str(event.get("reason") or "")),
                whole_account=event.get("scope") == "@",
                eligible_at=None if left_s is None else now + float(left_s),
                position=event.get("queue_position"),
            )
        if event.get("sync"):
            return replace(self, sync=True)
        if event.get("fal_queue_position") is not None:
            return replace(self, fal_position=int(event["fal_queue_position"]))
        for verb in ("upload", "download"):
            if verb in event:
                return replace(self, transfer=_transfer(verb, event))
        return replace(self, transfer=None) if "uploaded" in event else self

    def line(self, now: float) -> str:
        """Say it in one line.

        >>> Waiting(phase="queued", limit="rate", eligible_at=9.5, position=2).line(now=5.0)
        "waiting for the queue's rate, 4.5 s, place 3 in the queue"
        >>> Waiting(phase="submitted", fal_position=0).line(now=0)
        "in fal's queue, place 1"
        """
        if self.transfer is not None:
            return f"{self.transfer.verb}ing {self.transfer.name}"
        if self.phase == "queued" and (self.limit or self.position is not None):
            return self._held(now)
        if self.phase == "submitting" and self.sync:
            return "running at fal (sync)"
        text = PHASES.get(self.phase, "starting")
        return text + (f", place {self.fal_position + 1}" if self.fal_position is not None else "")

    def _held(self, now: float) -> str:
        text = self._cause()
        if self.eligible_at is not None:
            text += f", {max(0.0, self.eligible_at - now):.1f} s"
        if self.position is not None:
            text += f", place {self.position + 1} in the queue"
        return text

    def _cause(self) -> str:
        whose = "the account" if self.whole_account else "the queue"
        if self.limit == "paused":
            return f"waiting: {whose} is paused"
        if self.limit == "hold":
            return f"waiting: {whose} is held, {self.reason or 'for a while'}"
        return f"waiting for {LIMITS.get(self.limit, self.limit)}" if self.limit else "waiting"


def _transfer(verb: str, event: Mapping[str, Any]) -> Transfer:
    of_bytes = event.get("of")
    return Transfer(
        verb=verb,
        name=str(event[verb]),
        done_bytes=int(event.get("bytes") or 0),
        of_bytes=None if of_bytes is None else int(of_bytes),
    )


def said_once(event: Mapping[str, Any]) -> str | None:
    """Give the line for what happens once and is worth keeping; None for all else.

    >>> said_once({"job_id": "j", "deduplicated": True})
    'job j, attached to an equal call that is under way'
    >>> said_once({"job_id": "j", "deduplicated": True, "stands": "done", "by_key": True})
    'job j: the call of the same --idempotency-key, done'
    """
    for name, form in _FORMS.items():
        if event.get(name):
            return visible(form.format(**event))
    if "job_id" in event and "phase" not in event:
        return f"job {event['job_id']}{_attached(event)}"
    return None


def _attached(event: Mapping[str, Any]) -> str:
    if not event.get("deduplicated"):
        return ""
    which = "the call of the same --idempotency-key" if event.get("by_key") else "an equal call"
    stands = event.get("stands", "")
    if stands in ("done", "failed", "cancelled", "unknown"):
        return f": {which}, {PHASES[stands]}"
    return f", attached to {which} that is under way"


def shown_bytes(count: int) -> str:
    """Give a size for people.

    >>> shown_bytes(3_250_000)
    '3.1 MiB'
    """
    return f"{count / _MIB:.1f} MiB" if count >= _MIB else f"{count / 1024:.1f} KiB"
