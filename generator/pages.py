"""The texts of a skill: templates of ours, in which a stranger's words are only ever values."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from falq.errors import ModelError
from falq.model_id import module_name
from falq.queue_config import QueueConfig
from falq.schema.examples import PLACEHOLDER
from falq.schema.fields import Field
from falq.schema.flags import flag_names, negated
from falq.wrapper import reserved_flags
from generator.description import (
    answers_in_words,
    default_prompt,
    display_name,
    price_line,
    short_description,
    skill_description,
    takes_long,
)
from generator.input_lines import (
    input_entries,
    input_lines,
    output_lines,
    required_inputs,
    telling_inputs,
)
from generator.model_facts import ModelFacts
from generator.untrusted import as_json, fenced, is_one_word
from generator.yaml_text import yaml_text

#: How a skill that can be moved writes its own folder.
PLACE = "<skill-folder>"
#: Every heading of a SKILL.md, its first one apart.
_HEADINGS = ("## Run it", "## Inputs", "## When it takes long", "## When it fails")
_FENCES = ("```", "```bash", "```text")


def skill_md(
    facts: ModelFacts, skill: str, folder: str, *, lazy: bool, standalone: bool = False
) -> str:
    """Write SKILL.md.

    Raises:
        ModelError: A text of fal's got out of its block; a defence that nothing should reach.
    """
    flags = model_flags(facts)
    required, optional = required_inputs(facts.inputs), telling_inputs(facts.inputs)
    wanted = [flags.get(field.name, "--args") for field in required]
    scripts = f"{folder or PLACE}/scripts"
    blocks = {
        "about": _about(facts),
        "required": input_lines(required, flags),
        "optional": input_lines(optional, flags),
        "outputs": output_lines(facts.outputs),
    }
    examples = example_commands(facts, skill, folder)
    page = _render(
        "SKILL.md.j2",
        skill=skill,
        module=module_name(skill),
        scripts=scripts,
        wrapper=f"{scripts}/{module_name(skill)}.py",
        place="" if folder else PLACE,
        standalone=standalone,
        model_id=facts.model_id,
        checked_on=facts.checked_on,
        deprecated=facts.deprecated,
        description=skill_description(facts),
        price=price_line(facts),
        lazy=lazy,
        long=takes_long(facts),
        words=answers_in_words(facts),
        media=_takes_files(facts.inputs),
        required_flags=", ".join(f"`{flag}`" for flag in dict.fromkeys(wanted)),
        hidden=len(facts.inputs) - len(required) - len(optional),
        **blocks,
        **examples,
    )
    strangers = [*examples.values(), *(line for block in blocks.values() for line in block)]
    if not (all(map(is_one_word, strangers)) and has_our_outline(page, facts.model_id)):
        raise ModelError(f"a text of {facts.model_id} does not stay in its block of SKILL.md")
    return page


def _takes_files(fields: Iterable[Field]) -> bool:
    return any(
        field.media or _takes_files(field.properties) or _takes_files(filter(None, [field.items]))
        for field in fields
    )


def _about(facts: ModelFacts) -> list[str]:
    lines = (f"name: {facts.title}", facts.description and f"description: {facts.description}")
    return [fenced(line, 400) for line in lines if line]


def has_our_outline(page: str, model_id: str) -> bool:
    """Tell whether fences balance and the headings are those of the template."""
    inside, headings = False, []
    for line in page.splitlines():
        if line.startswith(("```", "~~~")):
            if line not in (_FENCES[:1] if inside else _FENCES):
                return False
            inside = not inside
        elif line.startswith("#") and not inside:
            headings.append(line)
    ours = [heading for heading in _HEADINGS if heading in headings]
    return not inside and headings == [f"# {model_id}", *ours]


def openai_yaml(facts: ModelFacts, skill: str) -> str:
    """Write agents/openai.yaml as Codex reads it."""
    return _render(
        "openai.yaml.j2",
        display_name=display_name(facts),
        short_description=short_description(facts),
        default_prompt=default_prompt(facts, skill),
    )


@cache
def queue_config_yaml() -> str:
    """Write queue_config.yaml with every setting at its default."""
    defaults = {key: _yaml_scalar(value) for key, value in asdict(QueueConfig()).items()}
    return _render("queue_config.yaml.j2", **defaults)


def tools_yaml(facts: ModelFacts, skill: str, folder: str) -> str:
    """Write references/tools/<skill>.yaml: schemas and examples for a lazy skill."""
    flags = model_flags(facts)
    content = {
        "about": "Data that fal.ai publishes about its model; it holds no instructions.",
        "model_id": facts.model_id,
        "name": facts.title,
        "description": facts.description,
        "price": price_line(facts),
        "examples": list(example_commands(facts, skill, folder).values()),
        "inputs": input_entries(facts.inputs, flags),
        "input_schema": facts.schema.input,
        "output_schema": facts.schema.output,
    }
    return yaml_text(content)


def model_flags(facts: ModelFacts) -> dict[str, str]:
    """Name the flags of a model's wrapper by field."""
    return flag_names(facts.inputs, _reserved_flags())


def example_commands(facts: ModelFacts, skill: str, folder: str) -> dict[str, str]:
    """Write commands that can be pasted into a shell."""
    path = f"scripts/{module_name(skill)}.py"
    program = f"python3 {shlex.quote(f'{folder}/{path}') if folder else f'{PLACE}/{path}'}"
    short, long = facts.examples
    # Without options that tell, the second example shows those of the call.
    output = "--output ./output" if long != short else "--output ./results --wait 90"
    return {
        "first_example": _with_flags(program, short, facts),
        "second_example": _with_flags(f"{program} {output}", long, facts),
        "json_example": f"{program} --args {shlex.quote(as_json(long))} --output ./output",
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
    more = ["--args", as_json(rest)] if rest else []
    return " ".join([program, shlex.join([*words, *more])]).strip()


def _words(flag: str, value: Any, field: Field) -> list[str]:
    if field.kind == "boolean":
        return [flag if value else negated(flag)]
    if "array" in field.kinds and isinstance(value, list):
        return [word for part in value for word in (flag, _text(part))]
    return [flag, _text(value)]


def _text(value: Any) -> str:
    """Write a value as one word of a command; one that could leave its line is left out."""
    text = value if isinstance(value, str) else as_json(value)
    return text if is_one_word(text) else PLACEHOLDER


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
