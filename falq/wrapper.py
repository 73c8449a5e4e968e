"""The program behind every generated wrapper: a model's inputs as flags over a call.

A wrapper's own file is constant code; what it knows of its model stands in the skill's
``references/``. Help must come fast, so nothing here imports what only a call needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from falq.cli.call_options import call_options, read_arguments, refuse_contradictions
from falq.errors import ConfigurationError, FalqError, UsageError
from falq.schema.examples import part_example
from falq.schema.fields import Field, read_fields
from falq.schema.flag_values import value_from_text, values_from_texts
from falq.schema.flags import flag_names, negated
from falq.schema.lock import REGENERATE, SchemaLock
from falq.schema.wording import expectation, part_groups, show_number, show_value

_MAX_UNIT_CHARS = 40
#: A stranger's description; more is in SKILL.md's references.
_MAX_ABOUT_CHARS = 1000
#: Tells the inputs of a model from the options of a call among a command's parameters.
_PREFIX = "input__"


def main(
    argv: Sequence[str],
    skill_dir: Path | str,
    *,
    model_id: str | None = None,
    skill: str | None = None,
) -> int:
    """Run a wrapper and give its exit code (design 1.4); errors are printed, not raised.

    Args:
        argv: The wrapper's own arguments.
        skill_dir: The skill's folder, with ``references/schema.lock.json``.
        model_id: What the wrapper says that it is for; must be what the lock is about.
        skill: Name of the skill; default the folder's.
    """
    from falq.cli.main import run

    folder = Path(skill_dir)
    name = skill or folder.name
    command = _Unready(folder, name, model_id)
    return run(command, argv, prog_name=name)


def reserved_flags() -> set[str]:
    """Name the flags that every wrapper has whatever its model."""
    return set(_flags_of(click.command()(call_options(lambda: None)).params))


def wrapper_command(lock: SchemaLock, skill: str, folder: Path) -> click.Command:
    """Build the click command of one model: its inputs first, then the options of a call."""
    fields = read_fields(lock.schema.input)
    by_name = {f"{_PREFIX}{index}": field for index, field in enumerate(fields)}

    def callback(**given: Any) -> int:
        refuse_contradictions(given)
        inputs = {field.name: given.pop(key) for key, field in by_name.items() if key in given}
        return _call(lock, skill, folder, inputs, given)

    make = click.command(skill, cls=_WrapperCommand, help=_about(lock))
    command = make(call_options(callback))
    flags = flag_names(fields, _flags_of(command.params))
    command.params[:0] = [
        _option(flags[field.name], key, field)
        for key, field in by_name.items()
        if field.name in flags
    ]
    return command


class _Unready(click.Command):
    """A wrapper before its lock is read, so that a damaged lock is an error like any other."""

    def __init__(self, folder: Path, skill: str, model_id: str | None) -> None:
        super().__init__(skill)
        self._folder = folder
        self._skill = skill
        self._model_id = model_id

    def main(self, *args: Any, **kwargs: Any) -> Any:
        from falq.cli.main import known_error

        try:
            return self._main(*args, **kwargs)
        except (FalqError, click.ClickException) as error:
            known = known_error(error).about(model_id=self._model_id)
            if isinstance(known, UsageError) and (known is not error or not known.hint):
                known.hint = "nothing was sent; --help lists what fits"
            raise known from error

    def _main(self, *args: Any, **kwargs: Any) -> Any:
        lock = read_lock(self._folder)
        if self._model_id not in (None, lock.model_id):
            raise ConfigurationError(
                f"schema.lock.json is about {lock.model_id!r}: expected {self._model_id!r}",
                REGENERATE,
            )
        self._model_id = lock.model_id
        return wrapper_command(lock, self._skill, self._folder).main(*args, **kwargs)


class _WrapperCommand(click.Command):
    """Help in two parts: what the model takes, and how the call is made."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        shown = [(param, record) for param, record in records if record]
        inputs = [r for p, r in shown if (p.name or "").startswith(_PREFIX)]
        others = [r for p, r in shown if not (p.name or "").startswith(_PREFIX)]
        for title, rows in (("Inputs of the model", inputs), ("Options of the call", others)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=34)


def read_lock(folder: Path) -> SchemaLock:
    """Read a skill's locked schema.

    Raises:
        ConfigurationError: It is missing or damaged.
    """
    path = folder / "references" / "schema.lock.json"
    try:
        return SchemaLock.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise ConfigurationError(f"cannot read {path}: {reason}", REGENERATE) from error


def _about(lock: SchemaLock) -> str:
    lines = [f"Call the fal.ai model {lock.model_id}: files land in --output, JSON on stdout."]
    if lock.price:
        price = lock.price
        unit = clean_line(price.unit, _MAX_UNIT_CHARS)
        cost = show_number(price.unit_price)
        lines.append(f"{cost} {price.currency[:8]} per {unit} on {price.checked_on}.")
    return "\n\n".join([*lines, "Flags win over --args; see SKILL.md for examples."])


def clean_line(text: str, limit: int) -> str:
    r"""Give a provider's text as one printable line for a terminal.

    >>> clean_line("a\x1b[31m\n  b", 20)
    'a [31m b'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _visible(text: str) -> str:
    """Give a line whole, without what a terminal would obey."""
    return clean_line(text, len(text) + 1)


def _flags_of(params: Iterable[click.Parameter]) -> Iterator[str]:
    for param in params:
        yield from (*param.opts, *param.secondary_opts)


def _option(flag: str, key: str, field: Field) -> click.Option:
    if field.kind == "boolean":
        names = [f"{flag}/{negated(flag)}", key]
        return click.Option(names, default=None, help=_help(field))
    multiple = "array" in field.kinds
    # click turns an absent repeated flag into (), which must stay apart from a given one.
    return click.Option([flag, key], multiple=multiple, metavar=_metavar(field), help=_help(field))


def _metavar(field: Field) -> str:
    if "array" in field.kinds:
        return "ITEM…"
    names = {"integer": "INT", "number": "NUMBER", "object": "JSON", "string": "TEXT"}
    return names.get(field.kind, "VALUE")


def _help(field: Field) -> str:
    fits = _visible(expectation(field))
    obvious = fits in ("text", "true or false", "any JSON value")
    about = clean_line(field.description or field.title, _MAX_ABOUT_CHARS)
    parts = [about, "" if obvious else f"({fits})"]
    if field.has_default and field.default is not None:
        parts.append(f"[default: {_visible(show_value(field.default))}]")
    if field.required:
        parts.append("[required]")
    if field.deprecated:
        parts.append("[deprecated]")
    return " ".join(filter(None, parts)) + _parts_help(field)


def _parts_help(field: Field) -> str:
    """List the parts of an object below its help, one a line, and an example."""
    parts = [f"{at}{part}" for at, group in part_groups(field) for part in group]
    if not parts:
        return ""
    lines = [f"  {_visible(part)}" for part in parts]
    sample = json.dumps(part_example(field))
    lines += [f"  such as '{_visible(sample)}'"] if "'" not in sample else []
    # Click leaves a paragraph that begins with \b as it is.
    return "\n\n\b\n" + "\n".join(lines)


def _call(
    lock: SchemaLock, skill: str, folder: Path, inputs: Mapping[str, Any], options: dict[str, Any]
) -> int:
    from falq.cli.call import run_call
    from falq.cli.show import Voice
    from falq.schema.checking import check_arguments, with_required_defaults
    from falq.upload_fields import place_promised

    arguments = _arguments(lock, inputs, options)
    arguments = with_required_defaults(arguments, lock.schema.input)
    candidate, _ = place_promised(arguments, options["upload_field"], lock.schema.input)
    voice = Voice(quiet=options["quiet"])
    renew = f"schema of {lock.locked_on}; renew: falq generate -m {lock.model_id}"
    hint = f"nothing was sent; --help lists what fits ({renew})"
    for warning in check_arguments(candidate, lock.schema.input, hint=hint):
        voice.warn(warning)
    config = folder / "queue_config.yaml"
    run: Callable[..., int] = run_call
    return run(
        model_id=lock.model_id,
        arguments=arguments,
        options=options,
        skill=skill,
        queue_config_path=config if config.is_file() else None,
        input_schema=lock.schema.input,
    )


def _arguments(
    lock: SchemaLock, inputs: Mapping[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    fields = {field.name: field for field in read_fields(lock.schema.input)}
    given = {
        name: _value(raw, fields[name]) for name, raw in inputs.items() if raw not in (None, ())
    }
    args, args_file = options.pop("args", None), options.pop("args_file", None)
    whole = {} if args is None and args_file is None else read_arguments(args, args_file)
    wanted = ", ".join(name for name, field in fields.items() if field.required)
    if args is None and args_file is None and wanted and not (given or options["upload_field"]):
        raise UsageError(f"no arguments: expected at least {wanted}", "--help lists the inputs")
    return {**whole, **given}


def _value(raw: Any, field: Field) -> Any:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, tuple):
        return values_from_texts(raw, field)
    return value_from_text(raw, field)
