"""``falq jobs``: which jobs there are, and how they stand."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from falq.cli.show import as_table, emit, emit_table, table_width
from falq.errors import UsageError
from falq.phases import Phase

if TYPE_CHECKING:
    from falq.calling import Caller
    from falq.record import JobRecord

#: A terminal of fewer columns gets the columns by which people know their jobs.
WIDE = 150
_NARROW = ("job_id", "phase", "model_id", "created", "error")
#: Ids are copied from the table into other commands.
_IDS = ("job_id", "request_id")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _since(text: str) -> float:
    """Read an age such as 2h, or a moment, into Unix seconds."""
    age = re.fullmatch(r"(\d{1,9})([smhd])", text.strip())
    if age:
        return time.time() - int(age[1]) * _UNITS_S[age[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since is {text!r}: expected an age or a moment",
            "such as 30m, 2h, 7d or 2025-03-01T12:00",
        ) from None


@click.command()
@click.option("--unknown", is_flag=True, help="Only those whose outcome is unknown.")
@click.option(
    "--phase", "phases", type=click.Choice([phase.value for phase in Phase]), multiple=True,
    help="Only of this phase; repeatable.",
)  # fmt: skip
@click.option("--queue", metavar="QUEUE", help="Only of one queue.")
@click.option(
    "--model", "models", multiple=True, metavar="PATTERN",
    help="Only of this model, such as 'fal-ai/flux*'; repeatable.",
)  # fmt: skip
@click.option("--since", type=_since, metavar="WHEN", help="Only since 30m, 2h, 7d or a moment.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, metavar="N", help="At most.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON on a terminal too.")
def jobs(limit: int, json_wanted: bool, **wanted: Any) -> None:
    """List jobs, newest first."""
    found = _find(limit, **wanted)
    if as_table(json_wanted):
        _print_table(found)
    else:
        emit([_row(record) for record in found])


def _find(
    limit: int,
    *,
    unknown: bool,
    phases: Sequence[str],
    queue: str | None,
    models: Sequence[str],
    since: float | None,
) -> list[JobRecord]:
    from falq.calling import Caller
    from falq.redis_link import translate_redis_errors
    from falq.settings import Settings

    def fits(record: JobRecord) -> bool:
        return (
            (not phases or record.phase in phases)
            and (queue is None or record.queue == queue)
            and (not models or any(fnmatchcase(record.model_id, model) for model in models))
            and (since is None or record.created_at >= since)
        )

    settings = Settings.from_env(os.environ)
    with Caller(settings, needs_key=False) as caller, translate_redis_errors():
        if queue is not None:
            _check_queue(caller, queue)
        if unknown:
            return [record for record in caller.journal.unknown() if fits(record)][:limit]
        return caller.journal.jobs(limit=limit, fits=fits, since_at=since)


def _check_queue(caller: Caller, queue: str) -> None:
    """Refuse a queue that nobody ever had: "no jobs" would be taken for an answer."""
    from falq.admission import Admission
    from falq.overview import accounts_in_use
    from falq.pausing import no_such_queue

    accounts = accounts_in_use(caller.redis, caller.settings)
    known = {name for each in accounts for name in Admission(caller.redis, each).queues()}
    if queue not in known:
        raise no_such_queue(queue, known)


def _print_table(found: Iterable[JobRecord]) -> None:
    rows = [_row(record) for record in found]
    if not rows:
        emit_table(["no jobs"], [])
        return
    wide = table_width() >= WIDE
    names = [name for name in rows[0] if wide or name in _NARROW]
    shown = "%Y-%m-%d %H:%M:%S" if wide else "%m-%d %H:%M"
    emit_table(names, [_cells(row, names, shown) for row in rows], whole=_IDS)


def _cells(row: Mapping[str, Any], names: Sequence[str], shown: str) -> list[Any]:
    created = datetime.fromisoformat(row["created"]).astimezone().strftime(shown)
    return [created if name == "created" else row[name] for name in names]


def _row(record: JobRecord) -> dict[str, Any]:
    created = datetime.fromtimestamp(record.created_at, UTC)
    return {
        "job_id": record.job_id,
        "phase": record.phase,
        "model_id": record.model_id,
        "queue": record.queue,
        "created": created.isoformat(timespec="seconds"),
        "request_id": record.shown_request_id,
        "error": (record.error or {}).get("message"),
    }
