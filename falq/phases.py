"""Where a job stands, and where it may go from there; pure.

Theory of operation: the table below is the only one. Each change of a record goes through
``advance.lua``, which is given the phases from which the target may be reached; anything
else changes nothing. Terminal phases have no way out but ``REOPEN``, which takes a person
or a tool that asks for it.

>>> [phase.value for phase in sorted(allowed_from(Phase.DONE))]
['downloading', 'running', 'submitted']
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Phases of a job, in the order of a good day."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    RUNNING = "running"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


TERMINAL = frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED})
#: Phases in which fal may know of the job and a holder must be found for it.
ACTIVE = frozenset({Phase.SUBMITTING, Phase.SUBMITTED, Phase.RUNNING, Phase.DOWNLOADING})

_P = Phase
TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    _P.QUEUED: frozenset({_P.SUBMITTING, _P.FAILED, _P.CANCELLED}),
    _P.SUBMITTING: frozenset(
        {_P.SUBMITTED, _P.DOWNLOADING, _P.QUEUED, _P.FAILED, _P.UNKNOWN, _P.CANCELLED}
    ),
    _P.SUBMITTED: frozenset(
        {_P.RUNNING, _P.DOWNLOADING, _P.DONE, _P.FAILED, _P.CANCELLED, _P.UNKNOWN}
    ),
    _P.RUNNING: frozenset({_P.SUBMITTED, _P.DOWNLOADING, _P.DONE, _P.FAILED, _P.CANCELLED}),
    _P.DOWNLOADING: frozenset({_P.DONE, _P.FAILED, _P.CANCELLED}),
    _P.UNKNOWN: frozenset(),
    _P.DONE: frozenset(),
    _P.FAILED: frozenset(),
    _P.CANCELLED: frozenset(),
}
#: What a person, a late report or a dashboard's requeue may do; nothing else ever does.
REOPEN: dict[Phase, frozenset[Phase]] = {
    _P.UNKNOWN: frozenset({_P.QUEUED, _P.SUBMITTING, _P.SUBMITTED, _P.DOWNLOADING, _P.FAILED}),
    _P.FAILED: frozenset({_P.QUEUED, _P.SUBMITTED, _P.DOWNLOADING}),
    _P.CANCELLED: frozenset({_P.QUEUED, _P.SUBMITTED}),
    # One whose result fal did not hand out; it is asked for again.
    _P.DONE: frozenset({_P.SUBMITTED}),
}


def allowed_from(to: Phase) -> frozenset[Phase]:
    """Give the phases from which a holder may go to a phase; staying is going, too."""
    start = {phase for phase, targets in TRANSITIONS.items() if to in targets}
    return frozenset(start | ({to} if to in ACTIVE else set()))


def reopenable_from(to: Phase) -> frozenset[Phase]:
    """Give the phases from which a person may bring a job to a phase."""
    return frozenset(phase for phase, targets in REOPEN.items() if to in targets)
