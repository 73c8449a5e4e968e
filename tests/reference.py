"""Writes the list of commands in docs/reference.md from the commands themselves.

    python -m tests.reference

A test holds the page to what this gives.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from falq.cli.main import COMMANDS, falq

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "reference.md"
BEGIN, END = "<!-- commands: python -m tests.reference -->\n", "<!-- end of commands -->\n"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Give every command with its full name, those of groups too."""
    context = click.Context(falq, info_name="falq")
    for name in COMMANDS:
        command = falq.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            for inner, found in command.commands.items():
                yield f"falq {name} {inner}", found
        else:
            yield f"falq {name}", command


def options_of(command: click.Command) -> list[click.Option]:
    shown = [each for each in command.params if isinstance(each, click.Option)]
    return [each for each in shown if not each.hidden]


def written() -> str:
    """Give the list as Markdown."""
    return "\n".join(part for name, command in commands() for part in _section(name, command))


def _section(name: str, command: click.Command) -> Iterator[str]:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    usage = " ".join([name, *(_argument(each) for each in arguments)])
    yield f"### `{usage}`\n"
    yield f"{_text(command.help or '')}\n"
    options = options_of(command)
    if options:
        yield "| option | default | meaning |\n|---|---|---|"
        yield from (_row(each) for each in options)
        yield ""


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or "").upper().removesuffix("...")
    return f"{name}…" if argument.nargs == -1 else name


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag or option.count else f" {_value(option)}"
    shown = option.default if option.show_default and not option.is_flag else ""
    repeat = "; repeatable" if option.multiple and "repeatable" not in (option.help or "") else ""
    return f"| {names}{value} | {shown} | {_cell(option.help or '')}{repeat} |"


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return _cell("\\|".join(f"`{each}`" for each in option.type.choices))
    return f"`{option.metavar or option.type.name.upper().removesuffix(' RANGE')}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).removesuffix(".").replace("<", "&lt;")


def _text(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.replace("\b", "").strip())
    return "\n\n".join(" ".join(each.split()) for each in paragraphs).replace("<", "&lt;")


def renewed(page: str) -> str:
    """Give the page with the list as it has to be."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{written()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
