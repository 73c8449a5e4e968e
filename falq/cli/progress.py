"""What a person sees while waiting: one line for each thing that changes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from falq.cli.show import Voice

_PHASES = {
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
_FORMS = {
    "warning": "warning: {warning}",
    "fal_queue_position": "place {fal_queue_position} in fal's queue",
    "log": "log: {log}",
    "cancel": "cancel: {cancel}",
    "uploaded": "uploaded {uploaded}",
}
_LIMITS = {
    "rate": "the queue's rate",
    "interval": "the start interval",
    "concurrency": "max_concurrent",
    "paused": "the queue is paused",
    "hold": "a hold",
}


class Progress:
    """Prints events of a job as lines on stderr.

    Args:
        voice: Silent when quiet.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._begun = time.monotonic()
        self._last = ""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event, unless it says what was said just before."""
        text = describe(event)
        if text is not None and text != self._last:
            self._last = text
            self._voice.say(f"[{time.monotonic() - self._begun:6.1f}s] {text}")


def describe(event: Mapping[str, Any]) -> str | None:
    """Give the line for an event, or None where there is nothing to say.

    >>> describe({"phase": "running"}), describe({"fal_queue_position": 3})
    ('running at fal', "place 3 in fal's queue")
    """
    if "waits_for" in event:
        return _waiting(event)
    for name, form in _FORMS.items():
        if event.get(name):
            return form.format(**event)
    if "job_id" in event and "phase" not in event:
        attached = ", attached to an equal call that is under way" * bool(event.get("deduplicated"))
        return f"job {event['job_id']}{attached}"
    return _PHASES.get(str(event.get("phase")))


def _waiting(event: Mapping[str, Any]) -> str:
    limit = _LIMITS.get(str(event["waits_for"]), str(event["waits_for"]))
    text = f"waiting for {limit}"
    if event.get("eligible_in_s") is not None:
        text += f", {event['eligible_in_s']:.1f} s"
    if event.get("queue_position") is not None:
        text += f", place {event['queue_position']} in the queue"
    return text
