"""What the command line prints: data on stdout, talk on stderr.

Every error becomes one line and a hint; programs that read stdout get it as JSON as well.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from falq.errors import FalqError


class Voice:
    """Talks to a person on stderr, unless told to be quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, text: str) -> None:
        """Print a line of talk."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)  # noqa: T201  # this is the printer

    def warn(self, text: str) -> None:
        """Print a warning; quiet silences it too, errors never."""
        self.say(f"{styled('warning:', '33')} {text}")


def visible(text: str) -> str:
    r"""Give a stranger's text without what a terminal would obey or hide.

    >>> visible("done\x1b[2J\u202e!")
    'done [2J !'
    """
    return "".join(char if char.isprintable() else " " for char in text)


def styled(text: str, code: str) -> str:
    """Colour a text for stderr, on a terminal that wants colour."""
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    return text if plain else f"\033[{code}m{text}\033[0m"


def emit(data: Any) -> None:
    """Print one JSON value on stdout: indented for people, one line for programs."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(data, ensure_ascii=False, indent=indent), flush=True)  # noqa: T201


def as_table(json_wanted: bool) -> bool:
    """Tell whether stdout is for a person."""
    return sys.stdout.isatty() and not json_wanted


def table_width() -> int:
    """Give how many columns the terminal of stdout has."""
    from rich.console import Console

    return Console().width


def emit_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, whole: Collection[str] = ()
) -> None:
    """Print a table on stdout.

    Args:
        columns: Their names.
        rows: A cell for each.
        whole: Columns that are copied from, so that nothing may break them over lines.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in whole)
    for row in rows:
        # As Text, or rich reads markup in what strangers wrote: "[dev]" of a model's name.
        table.add_row(*(Text("" if cell is None else visible(str(cell))) for cell in row))
    Console().print(table)


def show_error(error: FalqError) -> int:
    """Print an error's line and hint on stderr, and give its exit code."""
    print(f"{styled('error:', '31')} {error.message}", file=sys.stderr)  # noqa: T201
    if error.hint:
        print(f"{styled('hint:', '36')} {error.filled_hint}", file=sys.stderr, flush=True)  # noqa: T201
    return error.exit_code


def fail(error: FalqError, *, json_wanted: bool = False) -> int:
    """Show an error to people and, as the failed result, to programs."""
    if json_wanted or not sys.stdout.isatty():
        emit({"status": "FAILED", "error": error.to_dict()})
    return show_error(error)
