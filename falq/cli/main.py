"""The command ``falq``: finds the command named and runs it.

Commands are loaded when they are run, by the strings below: help must not wait for redis,
rq or httpx, and falq imports neither ``workers`` nor ``generator``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import click

from falq.cli import interrupt
from falq.cli.show import fail
from falq.errors import FalqError, UsageError

#: Command → (where it is, its line in the help).
COMMANDS = {
    "demo": ("falq.cli.demo:demo", "Run the main job with nothing but falq: no key, no network."),
    "generate": ("generator.cli:generate", "Generate a skill from a fal.ai model id."),
    "search": ("generator.cli:search", "Search fal.ai's models."),
    "schema": ("generator.cli:schema", "Show a model's inputs, outputs, defaults and price."),
    "call": ("falq.cli.call:call", "Make one call and save its files."),
    "submit": ("falq.cli.call:submit", "Enqueue a call and print its ticket."),
    "wait": ("falq.cli.jobs:wait", "Wait for a job, from any shell or machine."),
    "result": ("falq.cli.jobs:result", "Fetch a job's result and files, without a new call."),
    "cancel": ("falq.cli.jobs:cancel", "Cancel a job."),
    "jobs": ("falq.cli.job_list:jobs", "List jobs."),
    "resolve": ("falq.cli.jobs:resolve", "Decide about a job whose outcome is unknown."),
    "upload": ("falq.cli.upload:upload", "Upload files to fal's storage."),
    "worker": ("workers.cli:worker", "Run a worker."),
    "up": ("workers.cli:up", "Start the embedded Redis and a background worker."),
    "redis": ("falq.cli.redis:redis", "Keep the embedded Redis running, for a process manager."),
    "down": ("workers.stopping:down", "Stop both, letting running jobs finish."),
    "status": ("falq.cli.status:status", "Show what runs, waits and is limited, and why."),
    "pause": ("falq.cli.limits:pause", "Start no more jobs of a queue."),
    "resume": ("falq.cli.limits:resume", "Start jobs of a queue again."),
    "dashboard": ("falq.cli.dashboard:dashboard", "Serve rq-dashboard and falq's live page."),
    "metrics": ("falq.cli.metrics:metrics", "Print metrics in Prometheus format."),
    "sandbox": ("falq.cli.sandbox:sandbox", "Serve a local fal: no key, no cost."),
    "doctor": ("falq.cli.doctor:doctor", "Check key, Redis, worker, versions, clock, disk."),
    "skill": ("generator.cli:skill", "Install the fal-skill-creator skill."),
}

#: A flag less like the one given was not meant.
_MIN_LIKENESS = 0.7
_MAX_SUGGESTED = 2


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        interrupt.hear()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            raise UsageError(f"{name!r} is no command of falq", _suggestion(name))
        return super().resolve_command(ctx, args)


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return f"did you mean: falq {close[0]}" if close else "falq --help lists the commands"


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="falq", prog_name="falq")
def falq() -> None:
    """Paid generative-media calls of agents: queued, limited, never paid twice."""


def run(command: click.Command, args: Sequence[str], prog_name: str = "falq") -> int:
    """Run a command and give its exit code; no traceback of an expected error gets out."""
    _leave_no_core_file()
    try:
        outcome: Any = command.main(args=list(args), prog_name=prog_name, standalone_mode=False)
    except click.exceptions.Exit as end:
        return int(end.exit_code)
    except click.Abort as end:
        # click takes an EOFError, such as damaged bytecode, for Ctrl-C.
        cause = end.__cause__
        return fail(known_error(cause)) if isinstance(cause, EOFError) else interrupt.INTERRUPTED
    except BrokenPipeError:
        _hang_up()
        return 0
    except Exception as error:  # noqa: BLE001  # no traceback reaches a user
        known = known_error(error).about(model_id=_model_of(args))
        return _failed(known, json_wanted="--json" in args)
    return outcome if isinstance(outcome, int) else 0


def _failed(error: FalqError, *, json_wanted: bool) -> int:
    """Show an error; whoever read our output may have gone, and the exit code still counts."""
    try:
        return fail(error, json_wanted=json_wanted)
    except BrokenPipeError:
        _hang_up()
        return error.exit_code


def _hang_up() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave_no_core_file() -> None:
    """Keep the key, which callers and workers hold in memory, off the disk if we crash."""
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _model_of(args: Sequence[str]) -> str | None:
    """Give the model that a line is about, also where it was refused before it was read."""
    if not args or args[0] not in ("call", "submit"):
        return None
    named = (value for flag, value in pairwise(args) if flag in ("-m", "--model-id"))
    return next(named, None)


def known_error(error: Exception) -> FalqError:
    """Give the error that a user sees; anything unforeseen is a bug of ours, and said so."""
    if isinstance(error, FalqError):
        return error
    if isinstance(error, click.ClickException):
        return _from_click(error)
    if os.environ.get("FALQ_DEBUG"):
        raise error
    return _bug(error)


def _bug(error: Exception) -> FalqError:
    from falq.logs import redact

    return FalqError(
        f"falq itself failed: {type(error).__name__}: {redact(str(error))[:200]}",
        "this is a bug; FALQ_DEBUG=1 shows where it happened",
    )


def _from_click(error: click.ClickException) -> UsageError:
    ctx = getattr(error, "ctx", None)
    hint = f"{ctx.command_path} --help" if ctx is not None else "falq --help"
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        return UsageError(_no_such_option(error.option_name, ctx.command), hint)
    return UsageError(error.format_message(), hint)


def _no_such_option(name: str, command: click.Command) -> str:
    """Name the flags that were meant, nearest first; a command's first flags win a tie."""
    known = [flag for p in command.params for flag in (*p.opts, *p.secondary_opts)]
    close = [flag for flag in _nearest(name, known) if flag.startswith("--")]
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"no such option: {name}{meant}"


def _nearest(name: str, known: list[str]) -> list[str]:
    from difflib import SequenceMatcher

    likeness = {flag: SequenceMatcher(None, name, flag).ratio() for flag in known}
    near = [flag for flag in likeness if likeness[flag] >= _MIN_LIKENESS]
    return sorted(near, key=lambda flag: -likeness[flag])[:_MAX_SUGGESTED]


def main(argv: Sequence[str] | None = None) -> None:
    """Run falq and leave with the documented exit code."""
    sys.exit(run(falq, sys.argv[1:] if argv is None else argv))
