"""Cancels a direct call whose process was stopped: by fal's leave, as a worker would."""

from __future__ import annotations

import contextlib
import time

from falq.direct_rivals import DirectRivals
from falq.errors import ConfigurationError, UnreachableError
from falq.keeping import forget, keep, lock_of
from falq.phases import ACTIVE, Phase
from falq.planner import ASKED
from falq.record import JobRecord
from falq.settings import Settings

#: What a cancel came to, a line that says it, and the record as it stands then.
Cancelled = tuple[str, str, JobRecord]


def cancel_directly(settings: Settings, kept: JobRecord) -> Cancelled:
    """Cancel a direct call; nothing is sent but fal's cancel.

    Raises:
        UnreachableError: The process that made the call still works on it.
        FalqError: Fal cannot be asked.
    """
    with lock_of(settings.home, kept.job_id) as lock:
        if not lock.acquire():
            raise UnreachableError(
                f"job {kept.job_id} is under way in the process that made the call",
                "press Ctrl-C there, twice",
                job_id=kept.job_id,
                retryable=False,
                may_be_billed=True,
            )
        if kept.phase == Phase.QUEUED:
            forget(settings.home, kept.job_id)
            return "cancelled", "cancelled before anything was sent; nothing is billed", kept
        if kept.phase not in ACTIVE | {Phase.UNKNOWN}:
            return "already_ended", f"the job was {kept.phase} already", kept
        if kept.mode == "sync" or kept.fallback:
            said = "a sync run cannot be called back; it goes on and may be billed"
            return "requested", said, kept
        return _cancelled(settings, kept)


def _cancelled(settings: Settings, kept: JobRecord) -> Cancelled:
    """Find the request, if its id is not known yet, ask fal to cancel it, and see what follows."""
    from falq.direct import go_on

    def keep_it(record: JobRecord) -> None:
        with contextlib.suppress(OSError, ConfigurationError):
            keep(settings.home, record)

    unsure = kept.request_id is None or kept.phase in (Phase.UNKNOWN, Phase.SUBMITTING)
    phase = kept.phase if not unsure else Phase.SUBMITTING.value
    asked = kept.changed(
        phase=phase, cancel_requested=True, loss=ASKED, lost_at=time.time(), error=None
    )
    rivals = DirectRivals(settings, kept.job_id, beside_queue=True)
    ended = go_on(settings, asked, keep=keep_it, rivals=rivals)
    if ended.phase == Phase.CANCELLED:
        forget(settings.home, kept.job_id)
        return "cancelled", "cancelled at fal; what was done may be billed", ended
    keep_it(ended.changed(cancel_requested=False))
    return "too_late", f"the job ended before: {ended.phase}", ended
