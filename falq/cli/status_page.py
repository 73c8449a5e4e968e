"""The overview as a page on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from falq.cli.show import visible
from falq.cli.waiting import LIMITS
from falq.errors import RedisUnavailableError
from falq.overview import JobLine, Overview, ScopeLine, look_around
from falq.settings import Settings

#: Rows of a list; the rest is counted.
_ROWS = 12
#: Columns that are copied from, and so stay in one piece.
_WHOLE = frozenset({"job", "phase", "age", "ended"})


def print_page(seen: Overview) -> None:
    """Print the page once."""
    Console().print(page(seen))


def watch_page(settings: Settings, interval_s: float) -> None:
    """Draw the page anew until Ctrl-C; Redis may go away and come back meanwhile."""
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_drawn(settings), refresh=True)
            time.sleep(interval_s)


def _drawn(settings: Settings) -> RenderableType:
    try:
        return page(look_around(settings))
    except RedisUnavailableError as error:
        return Text(f"{error.message}; looking again", style="red")


def page(seen: Overview) -> RenderableType:
    """Put the page together."""
    if seen.server is None:
        return Text(
            "nothing runs: no embedded server, so no jobs in flight either\n"
            "the next call starts what it needs; falq up starts it now"
        )
    parts = [
        _head(seen),
        _queues(seen),
        _workers(seen),
        _jobs("in flight", seen.jobs),
        _jobs("outcome unknown (falq resolve JOB)", seen.unknown),
        _jobs("recent failures", seen.failures),
    ]
    return Group(*(part for part in parts if part is not None))


def _head(seen: Overview) -> Text:
    server = seen.server
    assert server is not None  # noqa: S101  # the page has a head only where there is one
    kind = "embedded server" if server.embedded else "Redis"
    text = f"falq {seen.version} · {kind} {server.product} {server.version} at {server.where}"
    if seen.intake:
        text += f"\n{seen.intake} jobs wait for a worker with a key to take them in"
    if not seen.workers:
        text += "\nno worker runs; the next call on this machine starts one (falq up)"
    return Text(text)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    for column in columns:
        table.add_column(column, header_style="dim", overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        table.add_row(*(Text("" if cell is None else visible(str(cell))) for cell in row))
    return table


def _queues(seen: Overview) -> Table | None:
    lines = [line for line in (*seen.accounts, *seen.queues) if _worth_showing(line)]
    if not lines:
        return None
    columns = ("queue", "running", "waiting", "rate", "held by", "for")
    several = len(seen.accounts) > 1
    return _table("\nqueues", columns, (_queue_row(line, several=several) for line in lines))


def _worth_showing(line: ScopeLine) -> bool:
    capped = line.max_concurrent is not None or line.paused or bool(line.hold_reason)
    return line.queue != "@" or capped


def _queue_row(line: ScopeLine, *, several: bool) -> list[object]:
    name = "@ the account" if line.queue == "@" else line.queue
    most = "∞" if line.max_concurrent is None else line.max_concurrent
    rate = "" if line.rate_per_min is None else f"{line.rate_per_min:g}/min, burst {line.burst}"
    return [
        f"{name} ({line.account})" if several else name,
        f"{line.running}/{most}",
        line.waiting,
        rate,
        held_by(line),
        "" if not line.wait_s else f"{line.wait_s:.1f} s",
    ]


def held_by(line: ScopeLine) -> str:
    """Name the limit that holds a scope's next start.

    An empty text: a job may start at once.
    """
    if line.held_by_account and line.limit == "paused":
        return "the account is paused"
    whose = "the account: " if line.held_by_account else ""
    if line.limit == "hold" and line.hold_reason:
        return f"{whose}a hold: {line.hold_reason}"
    return whose + LIMITS.get(line.limit, line.limit)


def _workers(seen: Overview) -> Table | None:
    if not seen.workers:
        return None
    rows = [
        (each.host, each.name, each.version, f"{each.jobs}/{each.concurrency}", each.queues)
        for each in seen.workers
    ]
    return _table("\nworkers", ("host", "name", "falq", "jobs", "queues"), rows)


def _jobs(title: str, lines: Sequence[JobLine]) -> Table | None:
    if not lines:
        return None
    rows = [
        (line.job_id, line.model_id, line.phase, _when(line), line.error or line.request_id)
        for line in lines[:_ROWS]
    ]
    more = f", {len(lines) - _ROWS} more: falq jobs" if len(lines) > _ROWS else ""
    when = "age" if lines[0].ended_s is None else "ended"
    columns = ("job", "model", "phase", when, "error" if lines[0].error else "request_id")
    return _table(f"\n{title}{more}", columns, rows)


def _when(line: JobLine) -> str:
    return _age(line.age_s) if line.ended_s is None else f"{_age(line.ended_s)} ago"


def _age(age_s: float) -> str:
    minutes, seconds = divmod(int(age_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{age_s:.1f} s"
