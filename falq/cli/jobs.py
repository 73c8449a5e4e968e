"""``falq wait``, ``result``, ``cancel``, ``resolve``: one job from any shell or machine."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from falq import call_values
from falq.cli.call_options import JSON_ANYWAY, seconds
from falq.cli.completing import job_ids
from falq.cli.progress import Progress
from falq.cli.show import Voice, emit
from falq.delivery import Delivery
from falq.errors import RedisUnavailableError, UsageError
from falq.meeting import part_ways
from falq.phases import TERMINAL, Phase

_QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress, no talk.")
#: Another machine's worker answers a cancel within this time, or later, seconds.
_CANCEL_S = 35.0


def _settings() -> Any:
    from falq.settings import Settings

    return Settings.from_env(os.environ)


def _open(settings: Any) -> Any:
    """Connect as somebody who looks at jobs; that needs no key."""
    from falq.calling import Caller

    return Caller(settings, needs_key=False)


@click.command()
@click.argument("job", shell_complete=job_ids)
@click.option(
    "--timeout",
    type=seconds("--timeout", call_values.wait),
    metavar="S",
    help="Then print a ticket.",
)
@JSON_ANYWAY
@_QUIET
def wait(job: str, timeout: float | None, quiet: bool) -> int:
    """Wait for a JOB and print its outcome."""
    from falq.cli.call import print_outcome

    progress = Progress(Voice(quiet=quiet))

    def run(delivery: Delivery) -> dict[str, Any]:
        from falq.api import attend

        with progress:
            return attend(_settings(), job, delivery, wait_s=timeout, on_event=progress)

    return print_outcome(run)


@click.command()
@click.argument("job", shell_complete=job_ids)
@click.option("-o", "--output", metavar="DIR", help="Where to; default: as the call said.")
@JSON_ANYWAY
@_QUIET
def result(job: str, output: str | None, quiet: bool) -> int:
    """Fetch the result and files of a JOB, without a new call.

    Works for jobs that are done, whose files could not be saved, whose time ran out, and for
    those whose outcome was unknown: they are looked up once more.
    """
    from falq.cli.call import print_outcome

    progress = Progress(Voice(quiet=quiet))

    def run(delivery: Delivery) -> dict[str, Any]:
        from falq.api import fetch_result

        with progress:
            return fetch_result(_settings(), job, delivery, output, on_event=progress)

    return print_outcome(run)


@click.command()
@click.argument("job", shell_complete=job_ids)
@JSON_ANYWAY
@_QUIET
def cancel(job: str, quiet: bool) -> int:
    """Cancel a JOB: at once while it waits, by fal's leave once it was sent."""
    shown = cancel_job(job)
    emit(shown)
    Voice(quiet=quiet).say(shown["message"])
    return 0


def cancel_job(job_id: str) -> dict[str, Any]:
    """Cancel a job and say what became of it."""
    kept = _kept(job_id)
    if kept is not None:
        from falq.direct_cancel import cancel_directly

        return _cancel_shown(*cancel_directly(_settings(), kept))
    with _open(_settings()) as caller:
        before = caller.cancel(job_id)
        if before is None:
            caller.get(job_id)
        record = caller.get(job_id)
        if record.phase == Phase.CANCELLED:
            part_ways(record.options)
            caller.delivered(job_id)
        if before in TERMINAL | {Phase.UNKNOWN}:
            outcome, said = "already_ended", f"the job was {before.value} already"
        elif before == Phase.QUEUED and record.phase == Phase.CANCELLED:
            outcome, said = "cancelled", "cancelled before anything was sent; nothing is billed"
        else:
            outcome, said, record = _await_cancel(caller, job_id)
    return _cancel_shown(outcome, said, record)


def _cancel_shown(outcome: str, said: str, record: Any) -> dict[str, Any]:
    return {
        "status": outcome,
        "job_id": record.job_id,
        "phase": record.phase,
        "request_id": record.request_id,
        "may_be_billed": _may_be_billed(record),
        "message": said,
    }


def _may_be_billed(record: Any) -> bool:
    """Tell as the job itself does: one whose request never left owes nothing."""
    if record.error is not None:
        return bool(record.error.get("may_be_billed"))
    return bool(record.sent)


def _await_cancel(caller: Any, job_id: str) -> tuple[str, str, Any]:
    give_up_at = time.monotonic() + _CANCEL_S
    while time.monotonic() < give_up_at:
        record = caller.get(job_id)
        if record.phase == Phase.CANCELLED:
            return "cancelled", "cancelled at fal; what was done may be billed", record
        if record.phase in TERMINAL | {Phase.UNKNOWN}:
            return "too_late", f"the job ended before: {record.phase}", record
        if record.mode == "sync" and record.phase == Phase.SUBMITTING:
            said = "asked, but a sync run cannot be called back; it goes on and is billed"
            return "requested", said, record
        time.sleep(0.1)
    return "requested", "fal was asked; the run goes on for now", caller.get(job_id)


@click.command()
@click.argument("job", shell_complete=job_ids)
@click.option("--resend", is_flag=True, help="Send it once more; it may be paid twice.")
@click.option("--fail", is_flag=True, help="Give it up.")
@click.option("--request-id", metavar="ID", help="Go on with this request of fal's.")
@JSON_ANYWAY
@_QUIET
def resolve(job: str, resend: bool, fail: bool, request_id: str | None, quiet: bool) -> None:
    """Decide about a JOB whose outcome is unknown."""
    chosen = [("resend", resend), ("fail", fail), ("request_id", request_id is not None)]
    ways = [way for way, wanted in chosen if wanted]
    if len(ways) != 1:
        raise UsageError("expected exactly one of --resend, --fail and --request-id ID")
    with _open(_settings()) as caller:
        caller.resolve(job, ways[0], request_id)
        record = caller.get(job)
    emit({"job_id": job, "phase": record.phase, "request_id": record.request_id})
    Voice(quiet=quiet).say(f"the job is {record.phase}: falq wait {job}")


def kept_ticket(job_id: str) -> dict[str, Any] | None:
    """Give the ticket of a direct call; None for a job of the queue."""
    from falq import outcome

    record = _kept(job_id)
    if record is None:
        return None
    return outcome.ticket(job_id, record.phase, record.request_id, None)


def _kept(job_id: str) -> Any:
    from falq.keeping import find_kept

    return find_kept(_settings().home, job_id)


def ticket_of(job_id: str, last_phase: str) -> dict[str, Any]:
    """Give the ticket of a job as it stands; while Redis is away, as it stood last."""
    from falq import outcome

    try:
        with _open(_settings()) as caller:
            record = caller.get(job_id)
            caller.leave(job_id)
            return outcome.ticket(job_id, record.phase, record.request_id, caller.position(record))
    except RedisUnavailableError:
        return outcome.ticket(job_id, last_phase, None, None)
