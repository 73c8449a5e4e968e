"""``falq status``: what runs, waits and is limited, and why."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from falq.cli.call_options import NumberRange
from falq.cli.show import as_table, emit

if TYPE_CHECKING:
    from falq.settings import Settings


@click.command()
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C.")
@click.option(
    "--interval", type=NumberRange(0.2, 3600), default=1.0, show_default=True, metavar="S",
    help="Seconds between two looks of --watch.",
)  # fmt: skip
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON on a terminal too.")
def status(watch: bool, interval: float, json_wanted: bool) -> int:
    """Show queues, limits, workers, jobs in flight and recent failures.

    Needs no key and starts nothing: that nothing runs is an answer, too.
    """
    from falq.settings import Settings

    settings = Settings.from_env(os.environ)
    table = as_table(json_wanted)
    if watch:
        return _watch(settings, interval, table=table)
    if table:
        from falq.cli.status_page import print_page
        from falq.overview import look_around

        print_page(look_around(settings))
    else:
        _emit(settings)
    return 0


def _emit(settings: Settings) -> None:
    from falq.overview import look_around

    emit(look_around(settings).to_dict())


def _watch(settings: Settings, interval_s: float, *, table: bool) -> int:
    """Look again and again; Ctrl-C ends it, with the exit code that it has everywhere."""
    try:
        if table:
            from falq.cli.status_page import watch_page

            watch_page(settings, interval_s)
        while not table:
            _emit(settings)
            time.sleep(interval_s)
    except KeyboardInterrupt:
        pass
    return 130
