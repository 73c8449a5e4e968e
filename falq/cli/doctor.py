"""``falq doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from falq.cli.show import as_table, emit, visible

if TYPE_CHECKING:
    from falq.findings import Finding

_MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "trouble": ("✗", "red")}


@click.command()
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON on a terminal too.")
def doctor(json_wanted: bool) -> int:
    """Check key, Redis, workers, versions, clock and disk, and say what to do.

    Starts nothing and pays nothing. The exit code is that of the first trouble.
    """
    from falq.doctor import as_dict, examine
    from falq.findings import exit_code

    findings = examine(os.environ)
    code = exit_code(findings)
    if as_table(json_wanted):
        _print(findings)
    else:
        emit({"status": "TROUBLE" if code else "OK", "findings": as_dict(findings)})
    return code


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for each in findings:
        mark, colour = _MARKS[each.verdict]
        table.add_row(Text(mark, style=colour), each.name, Text(visible(each.found)))
        if each.advice:
            table.add_row("", "", Text(f"→ {visible(each.advice)}", style=colour))
    Console().print(table)
