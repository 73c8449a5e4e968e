"""The options of a call, the same for ``falq call``, ``falq submit`` and every wrapper."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from falq import call_values
from falq.errors import ArgumentsError, UsageError
from falq.values import MAX_COUNT, number_from_text


class NumberRange(click.FloatRange):
    """A range of numbers; click lets nan into any, as it is less than nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number, and refuse one that is none."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


def seconds(flag: str, check: Callable[[str, Any], float | None]) -> Callable[[str], float | None]:
    """Give what reads a time from a flag under a rule of ``falq.call_values``."""

    def read(text: str) -> float | None:
        try:
            return check(flag, number_from_text(text))
        except ValueError:
            return check(flag, text)

    return read


def some_text(flag: str, expected: str) -> Callable[[str], str]:
    """Give what refuses an empty text: most often a variable of the shell that is not set."""

    def read(text: str) -> str:
        return call_values.some_text(flag, text, expected)

    return read


#: For commands that print JSON anyway: what a script gives to all of them is taken.
JSON_ANYWAY = click.option(
    "--json", is_flag=True, expose_value=False, help="Print JSON, on a terminal too."
)

_F = TypeVar("_F", bound=Callable[..., Any])

#: Larger arguments belong into files that are uploaded.
MAX_ARGUMENTS_BYTES = 32 * 1024 * 1024

_JSON_HINT = (
    """nothing was sent; for the shell in single quotes: --args '{"prompt": "a cat"}', """
    "or --args-file FILE; --help lists the flags"
)

_OPTIONS = (
    click.option("-a", "--args", "args", metavar="JSON", help="Arguments of the model, a JSON object."),
    click.option("--args-file", metavar="FILE", help="Read the arguments from a JSON file (- for stdin)."),
    click.option("-k", "--api-key", metavar="KEY", help="DEPRECATED: set FAL_KEY instead."),
    click.option("-o", "--output", default="./output", type=some_text("--output", "a directory"), show_default=True, metavar="DIR", help="Output directory."),
    click.option("-O", "--output-file", metavar="PATH", help="Output file, inside --output only."),
    click.option("--auto-filename", is_flag=True, help="Name files {request_id}_{timestamp}.{ext}."),
    click.option("--poll-interval", type=seconds("--poll-interval", call_values.poll_interval), metavar="S", help="Seconds between status polls, fixed."),
    click.option("--max-polls", type=click.IntRange(1, MAX_COUNT), metavar="N", help="Status polls at most."),
    click.option("--save-logs", is_flag=True, help="Save the model's logs to {output}/logs/."),
    click.option("--save-logs-inline", is_flag=True, help="Save the model's logs alongside the output."),
    click.option("--no-sidecar", is_flag=True, help="Write no <file>.json beside each file."),
    click.option("--no-queue", is_flag=True, help="Call fal from this process; limits do not apply."),
    click.option("--sync-only/--no-sync-only", default=None, help="Use fal.run's sync API / fal's queue (default: queue_config.yaml)."),
    click.option("--upload-field", multiple=True, metavar="NAME=PATH", help="Upload a file and give its URL to a field; repeatable."),
    click.option("--wait", "wait_s", type=seconds("--wait", call_values.wait), metavar="S", help="Wait so long, then print a ticket (exit 75)."),
    click.option("--no-wait", is_flag=True, help="Enqueue and print a ticket."),
    click.option("--fresh", is_flag=True, help="Never attach to an equal earlier call."),
    click.option("--idempotency-key", type=some_text("--idempotency-key", "a text that names this call"), metavar="K", help="One job per key for 24 h, whoever calls; not with --no-queue."),
    click.option("--priority", type=click.Choice(call_values.PRIORITIES), default="normal", show_default=True, help="Lane inside the queue."),
    click.option("--json", "json_wanted", is_flag=True, help="Print JSON on a terminal too."),
    click.option("-q", "--quiet", is_flag=True, help="No progress, no talk."),
)  # fmt: skip


def call_options(command: _F) -> _F:
    """Add every option of a call but ``--model-id`` to a click command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def refuse_contradictions(options: Mapping[str, Any]) -> None:
    """Refuse options of which one would silently be forgotten.

    Raises:
        UsageError: Names the two.
    """
    waits, detaches = options["wait_s"] is not None, options["no_wait"]
    if waits and detaches:
        raise _contradiction("--wait S and --no-wait")
    queued = {"--wait": waits, "--no-wait": detaches, "--priority": options["priority"] != "normal"}
    for flag, given in queued.items():
        if given and options["no_queue"]:
            raise _contradiction(f"--no-queue and {flag}", "; a direct call has no place to wait")


def _contradiction(flags: str, why: str = "") -> UsageError:
    return UsageError(f"{flags} exclude each other{why}", "nothing was sent; leave one out")


def read_arguments(args: str | None, args_file: str | None) -> dict[str, Any]:
    """Read the arguments from one of ``--args`` and ``--args-file``.

    Raises:
        ArgumentsError: Both or neither are given, the file cannot be read, or it is no JSON
            object; says where the JSON breaks.
    """
    if args is not None and args_file is not None:
        raise ArgumentsError(
            "both --args and --args-file are given: expected one of them",
            "nothing was sent; leave one of them out",
        )
    if args is None and args_file is None:
        raise ArgumentsError(
            "no arguments: expected --args JSON or --args-file FILE",
            """such as --args '{"prompt": "a cat in a garden"}'; for none: --args '{}'""",
        )
    if args_file is not None:
        return parse_arguments(_read(args_file), args_file)
    return parse_arguments(args or "", "--args")


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read(MAX_ARGUMENTS_BYTES + 1)
        with Path(name).open(encoding="utf-8") as file:
            return file.read(MAX_ARGUMENTS_BYTES + 1)
    except UnicodeDecodeError as error:
        raise ArgumentsError(
            f"{name} is no UTF-8 text (byte {error.start})", "nothing was sent; save it as UTF-8"
        ) from error
    except OSError as error:
        raise ArgumentsError(
            f"cannot read {name}: {error.strerror}",
            f"nothing was sent; --args-file is looked for from {Path.cwd()}; - reads stdin",
        ) from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def parse_arguments(text: str, source: str) -> dict[str, Any]:
    """Parse a JSON object, saying where it breaks.

    >>> parse_arguments('{"prompt": "cat"}', "--args")
    {'prompt': 'cat'}
    """
    if len(text) > MAX_ARGUMENTS_BYTES:
        raise ArgumentsError(f"{source} is larger than 32 MiB", "upload files: falq upload FILE")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20].replace("\n", " ")
        raise ArgumentsError(
            f"{source} is no JSON: {error.msg.removesuffix(' at')} at line {error.lineno}"
            f" column {error.colno} (near {near!r})",
            _JSON_HINT,
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArgumentsError(
            f"{source} is no JSON: {str(error)[:60]} is no value", _JSON_HINT
        ) from error
    if not isinstance(value, dict):
        raise ArgumentsError(
            f"{source} is {_kind(value)}: expected a JSON object {{…}}", _JSON_HINT
        )
    call_values.whole_characters(source, value)
    return value


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
