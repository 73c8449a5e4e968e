"""``falq pause`` and ``falq resume``: hold a queue back, and let it go on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from falq.cli.call_options import JSON_ANYWAY
from falq.cli.completing import queue_names
from falq.cli.show import Voice, emit
from falq.errors import UsageError
from falq.keys import ACCOUNT_SCOPE

if TYPE_CHECKING:
    from falq.overview import ScopeLine

_QUIET = click.option("-q", "--quiet", is_flag=True, help="No talk.")
_HELP = "  QUEUE is a name that falq status shows, or @ for all queues of the account."


@click.command(help=f"Start no more jobs of QUEUE; those that run go on.\n\n{_HELP}")
@click.argument("queue", shell_complete=queue_names)
@JSON_ANYWAY
@_QUIET
def pause(queue: str, quiet: bool) -> None:
    """Start no more jobs of a queue, on any machine."""
    line = _change(queue, paused=True)
    Voice(quiet=quiet).say(
        f"{_called(queue)} is paused; {line.running} of its jobs run on, none starts"
    )


@click.command(help=f"Start jobs of QUEUE again.\n\n{_HELP}")
@click.argument("queue", shell_complete=queue_names)
@JSON_ANYWAY
@_QUIET
def resume(queue: str, quiet: bool) -> None:
    """Start jobs of a queue again, on any machine."""
    line = _change(queue, paused=False)
    Voice(quiet=quiet).say(f"{_called(queue)} goes on; {line.waiting} of its jobs wait")


def _called(queue: str) -> str:
    return "the whole account" if queue == ACCOUNT_SCOPE else queue


def _change(queue: str, *, paused: bool) -> ScopeLine:
    from falq.pausing import change_pause
    from falq.redis_link import connect, translate_redis_errors
    from falq.settings import Settings

    settings = Settings.from_env(os.environ)
    with connect(settings) as redis, translate_redis_errors():
        line = change_pause(redis, settings, queue, paused=paused)
    emit({"queue": queue, "account": line.account, "paused": line.paused})
    if line.paused != paused:
        raise UsageError(
            f"{queue} has max_concurrent 0 and starts nothing",
            "raise max_concurrent in its queue_config.yaml; the next call puts it in force",
        )
    return line
