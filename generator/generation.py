"""Make skills of models: names, trees, files, and an account of what was done."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from falq.errors import ConfigurationError, OutputError
from falq.schema.difference import Change, input_changes, output_changes
from falq.schema.lock import SchemaLock
from generator.model_facts import ModelFacts
from generator.naming import CREATOR_SKILL, check_skill_name, choose_names
from generator.publishing import check_public
from generator.tree import SkillOptions, SkillTree, build_tree, creator_tree
from generator.writer import check_replaceable, owner_of, write_tree


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asked for.

    Attributes:
        output: Folder of skills, as the user wrote it.
        secrets: Must not get into a public skill.
    """

    output: Path
    name: str | None = None
    lazy: bool = False
    standalone: bool = False
    public: bool = False
    force: bool = False
    dry_run: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def linked(self) -> bool:
        """Whether skills link to the creator skill's scripts."""
        return not (self.standalone or self.public)


@dataclass(frozen=True, kw_only=True)
class Made:
    """One skill that was made, or would be."""

    facts: ModelFacts
    tree: SkillTree
    path: Path
    status: str
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "model_id": self.facts.model_id,
            "name": self.tree.name,
            "path": str(self.path),
            "status": self.status,
            "deprecated": self.facts.deprecated,
            "changes": list(self.changes),
            "files": sorted([*self.tree.files, *self.tree.links]),
        }


def generate_skills(models: Sequence[ModelFacts], request: Request) -> list[Made]:
    """Make a skill of each model; all are checked before the first is written.

    Raises:
        UsageError: A name, a folder that is taken, a tree unfit for --public.
        OutputError: The disk refuses.
    """
    names = _names(models, request)
    planned = [_plan(facts, names[facts.model_id], request) for facts in models]
    if request.dry_run:
        return planned
    if request.public:
        # A public skill is refused before any other is written.
        _rehearse(planned, request)
    if request.linked:
        install_creator(request.output, refresh=False)
    for made in planned:
        write_tree(made.tree, request.output, check=_check(request))
    return planned


def install_creator(output: Path, *, refresh: bool) -> Path:
    """Install the creator skill; unless told to refresh it, only where it is missing or old."""
    tree = creator_tree(sys.executable)
    target = output / CREATOR_SKILL
    if not refresh and _is_there(tree, target):
        return target
    try:
        return write_tree(tree, output)
    except OutputError:
        # Another falq may have installed the very same a moment ago.
        if _is_there(tree, target):
            return target
        raise


def _is_there(tree: SkillTree, folder: Path) -> bool:
    return all(_is_text(folder / path, text) for path, text in tree.files.items())


def _is_text(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _names(models: Sequence[ModelFacts], request: Request) -> dict[str, str]:
    if request.name is not None:
        return {models[0].model_id: check_skill_name(request.name)}
    ids = [facts.model_id for facts in models]
    return choose_names(ids, lambda name: owner_of(request.output / name))


def _plan(facts: ModelFacts, name: str, request: Request) -> Made:
    target = request.output / name
    changes = _schema_changes(target, facts)
    replaces = check_replaceable(target, facts.model_id, force=request.force or request.dry_run)
    options = SkillOptions(
        lazy=request.lazy,
        standalone=request.standalone,
        public=request.public,
        shown_folder=_shown(request.output, name),
        python=sys.executable if request.linked else None,
    )
    made = "regenerated" if replaces else "created"
    return Made(
        facts=facts,
        tree=build_tree(facts, name, options),
        path=target,
        status="planned" if request.dry_run else made,
        changes=tuple(map(str, changes)),
    )


def _shown(output: Path, name: str) -> str:
    # An absolute path would tie the skill to this machine.
    inside = not output.is_absolute() and ".." not in output.parts
    return (output / name).as_posix() if inside else ""


def _schema_changes(folder: Path, facts: ModelFacts) -> list[Change]:
    try:
        shown = json.loads((folder / "references" / "schema.lock.json").read_text("utf-8"))
        old = SchemaLock.from_dict(shown).schema
    except (OSError, ValueError, ConfigurationError):
        return []
    given = input_changes(old.input, facts.schema.input)
    return [*given, *output_changes(old.output, facts.schema.output)]


def _check(request: Request) -> Callable[[Path], None] | None:
    if not request.public:
        return None
    paths = [Path.home(), Path.cwd(), request.output.absolute()]
    # The system's own prefix is the same everywhere and stands in code of ours.
    paths += [Path(sys.prefix)] if sys.prefix != sys.base_prefix else []
    secrets = request.secrets
    return lambda folder: check_public(folder, secrets=secrets, machine_paths=paths)


def _rehearse(planned: Sequence[Made], request: Request) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for made in planned:
            write_tree(made.tree, Path(folder), check=_check(request))
