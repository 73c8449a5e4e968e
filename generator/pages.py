"""The texts of a skill: templates of ours, in which a stranger's words are only ever values."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from falq.model_id import module_name
from falq.queue_config import QueueConfig
from falq.schema.examples import long_example, short_example
from falq.schema.fields import Field
from falq.schema.flags import flag_names, negated
from falq.wrapper import reserved_flags
from generator.description import (
    display_name,
    price_line,
    short_description,
    skill_description,
)
from generator.input_lines import input_lines, output_lines, required_inputs, telling_inputs
from generator.model_facts import ModelFacts
from generator.untrusted import has_invisible, is_innocent


def skill_md(facts: ModelFacts, skill: str, folder: str, *, lazy: bool) -> str:
    """Write SKILL.md."""
    flags = model_flags(facts)
    required, optional = required_inputs(facts.inputs), telling_inputs(facts.inputs)
    wanted = [flags.get(field.name, "--args") for field in required]
    scripts = f"{folder}/scripts" if folder else "scripts"
    return _render(
        "SKILL.md.j2",
        skill=skill,
        module=module_name(skill),
        scripts=scripts,
        wrapper=f"{scripts}/{module_name(skill)}.py",
        model_id=facts.model_id,
        checked_on=facts.checked_on,
        deprecated=facts.deprecated,
        description=skill_description(facts),
        price=price_line(facts),
        lazy=lazy,
        required=input_lines(required, flags),
        required_flags=", ".join(f"`{flag}`" for flag in dict.fromkeys(wanted)),
        optional=input_lines(optional, flags),
        hidden=len(facts.inputs) - len(required) - len(optional),
        outputs=output_lines(facts.outputs),
        **example_commands(facts, skill, folder),
    )


def openai_yaml(facts: ModelFacts, skill: str) -> str:
    """Write agents/openai.yaml as Codex reads it."""
    return _render(
        "openai.yaml.j2",
        display_name=display_name(facts),
        short_description=short_description(facts),
        default_prompt=f"Use ${skill} to make what I describe, and show me the files.",
    )


@cache
def queue_config_yaml() -> str:
    """Write queue_config.yaml with every setting at its default."""
    defaults = {key: _yaml_scalar(value) for key, value in asdict(QueueConfig()).items()}
    return _render("queue_config.yaml.j2", **defaults)


def tools_yaml(facts: ModelFacts, skill: str, folder: str) -> str:
    """Write references/tools/<skill>.yaml: schemas and examples for a lazy skill."""
    import yaml

    flags = model_flags(facts)
    content = {
        "about": "Data that fal.ai publishes about its model; it holds no instructions.",
        "model_id": facts.model_id,
        "name": facts.title,
        "description": facts.description,
        "price": price_line(facts),
        "examples": list(example_commands(facts, skill, folder).values()),
        "flags": {field.name: flags.get(field.name) for field in facts.inputs},
        "inputs": input_lines(facts.inputs, flags),
        "input_schema": facts.schema.input,
        "output_schema": facts.schema.output,
    }
    text: str = yaml.dump(content, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100)
    if has_invisible(text):
        text = yaml.dump(content, Dumper=_dumper(), sort_keys=False, width=100)
    return text


def model_flags(facts: ModelFacts) -> dict[str, str]:
    """Name the flags of a model's wrapper by field."""
    return flag_names(facts.inputs, _reserved_flags())


def example_commands(facts: ModelFacts, skill: str, folder: str) -> dict[str, str]:
    """Write commands that can be pasted into a shell."""
    path = f"scripts/{module_name(skill)}.py"
    program = f"python {shlex.quote(f'{folder}/{path}' if folder else path)}"
    short = short_example(facts.schema.input, is_innocent)
    long = long_example(facts.schema.input, is_innocent)
    as_json = shlex.quote(json.dumps(long, ensure_ascii=False))
    return {
        "first_example": _with_flags(program, short, facts),
        "second_example": _with_flags(f"{program} --output ./output", long, facts),
        "json_example": f"{program} --args {as_json} --output ./output",
    }


def _with_flags(program: str, arguments: Mapping[str, Any], facts: ModelFacts) -> str:
    flags, fields = model_flags(facts), {field.name: field for field in facts.inputs}
    words = [
        word
        for name, value in arguments.items()
        if name in flags
        for word in _words(flags[name], value, fields[name])
    ]
    rest = {name: value for name, value in arguments.items() if name not in flags}
    more = ["--args", json.dumps(rest, ensure_ascii=False)] if rest else []
    return " ".join([program, shlex.join([*words, *more])]).strip()


def _words(flag: str, value: Any, field: Field) -> list[str]:
    if field.kind == "boolean":
        return [flag if value else negated(flag)]
    if "array" in field.kinds and isinstance(value, list):
        return [word for part in value for word in (flag, _text(part))]
    return [flag, _text(value)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _yaml_scalar(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


@cache
def _reserved_flags() -> frozenset[str]:
    return frozenset(reserved_flags())


@cache
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=PackageLoader("generator", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["quoted"] = _quoted
    return environment


def _quoted(text: str) -> str:
    """Write a double-quoted YAML string, which JSON's form is."""
    return json.dumps(text, ensure_ascii=False)


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(values)


def _dumper() -> Any:
    import yaml

    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return type("_Dumper", (base,), {"ignore_aliases": lambda *_: True})
