"""The files of one skill, in memory: what goes where, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from falq.model_id import module_name
from generator.model_facts import ModelFacts
from generator.naming import CREATOR_SKILL
from generator.pages import openai_yaml, queue_config_yaml, skill_md, tools_yaml
from generator.scripts import (
    copied_falq,
    creator_files,
    falq_version,
    shared_scripts,
    standalone_requirements,
    wrapper_source,
)

#: Kept when a skill is generated again.
USERS_FILES = ("queue_config.yaml",)


@dataclass(frozen=True, kw_only=True)
class SkillOptions:
    """How a skill is made.

    Attributes:
        shown_folder: How the skill's folder is written in its own commands.
        python: Interpreter to record; None leaves no path of this machine in the skill.
    """

    lazy: bool = False
    standalone: bool = False
    public: bool = False
    shown_folder: str = ""
    python: str | None = None


@dataclass(frozen=True, kw_only=True)
class SkillTree:
    """A skill's files and links by path; executable ones are programs of their own."""

    name: str
    files: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=dict)
    executable: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for path in (*self.files, *self.links):
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts or pure.as_posix() != path:
                raise ValueError(f"{path!r} is no path inside a skill")


def build_tree(facts: ModelFacts, skill: str, options: SkillOptions) -> SkillTree:
    """Lay out the skill of a model (design 1.5)."""
    wrapper = f"scripts/{module_name(skill)}.py"
    copies = options.standalone or options.public
    # A skill that can be moved names no place of its own.
    folder = "" if copies else options.shown_folder
    files = {
        "SKILL.md": skill_md(facts, skill, folder, lazy=options.lazy, standalone=copies),
        "queue_config.yaml": queue_config_yaml(),
        "agents/openai.yaml": openai_yaml(facts, skill),
        "references/model_config.json": _json(_model_config(facts)),
        "references/schema.lock.json": _json(facts.lock().to_dict()),
        wrapper: wrapper_source(facts.model_id, skill, standalone=copies),
    }
    if options.lazy:
        files[f"references/tools/{skill}.yaml"] = tools_yaml(facts, skill, folder)
    if options.python is not None and not copies:
        files["scripts/falq_runtime.json"] = runtime_record(options.python)
    return SkillTree(
        name=skill,
        files=files | (_copies() if copies else {}),
        links={} if copies else _links(),
        executable=frozenset([wrapper]),
    )


def creator_tree(python: str | None) -> SkillTree:
    """Lay out the creator skill, whose scripts the other skills link to."""
    record = {} if python is None else {"scripts/falq_runtime.json": runtime_record(python)}
    return SkillTree(name=CREATOR_SKILL, files={**creator_files(), **record})


def runtime_record(python: str) -> str:
    """Write down which interpreter has falq."""
    return _json({"python": python, "falq_version": falq_version()})


def _copies() -> dict[str, str]:
    shared = {f"scripts/{name}": text for name, text in shared_scripts().items()}
    own = {f"scripts/_falq/{path}": text for path, text in copied_falq().items()}
    requirements = "".join(f"{line}\n" for line in standalone_requirements())
    return {**shared, **own, "requirements.txt": requirements}


def _links() -> dict[str, str]:
    return {f"scripts/{n}": f"../../{CREATOR_SKILL}/scripts/{n}" for n in shared_scripts()}


def _model_config(facts: ModelFacts) -> dict[str, str]:
    return {
        "model_id": facts.model_id,
        "name": facts.title,
        "category": facts.category,
        "description": facts.description,
    }


def _json(value: object) -> str:
    # ASCII: what cannot be seen in a text stays visible as an escape.
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"
