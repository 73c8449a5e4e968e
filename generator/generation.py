"""Make skills of models: names, trees, files, and an account of what was done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from falq.errors import ConfigurationError, OutputError
from falq.model_id import skill_name
from falq.schema.difference import input_changes, output_changes
from falq.schema.lock import SchemaLock
from generator.creator import Creator, is_current, plan_creator
from generator.generated_files import RECORD, edited_files
from generator.model_facts import ModelFacts
from generator.naming import CREATOR_SKILL, check_skill_name, choose_names
from generator.publishing import check_public
from generator.tree import SkillOptions, SkillTree, build_tree
from generator.writer import check_replaceable, owner_of, write_trees


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
    """One skill that was made, or would be.

    Attributes:
        schema: ``new``, or how it stands to the earlier one: ``unchanged``, ``texts changed``,
            ``changed``, or ``unknown`` where no earlier one can be read.
        creator: The skill that its scripts are links to.
    """

    facts: ModelFacts
    tree: SkillTree
    path: Path
    status: str
    schema: str = "new"
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    creator: Creator | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "model_id": self.facts.model_id,
            "name": self.tree.name,
            "path": str(self.path),
            "status": self.status,
            "deprecated": self.facts.deprecated,
            "schema": self.schema,
            "changes": list(self.changes),
            "files": sorted([*self.tree.files, *self.tree.links, RECORD]),
            "creator": self.creator and {**asdict(self.creator), "path": str(self.creator.path)},
        }


def generate_skills(models: Sequence[ModelFacts], request: Request) -> list[Made]:
    """Make a skill of each model; all are checked before the first is written.

    Raises:
        UsageError: A name, a folder that is taken, a tree unfit for --public.
        OutputError: The disk refuses.
    """
    names = _names(models, request)
    planned = [_plan(facts, names[facts.model_id], request) for facts in models]
    trees = [made.tree for made in planned]
    if request.linked:
        creator, more = plan_creator(request.output, dry=request.dry_run)
        planned = [replace(made, creator=creator) for made in planned]
        trees = [*more, *trees]
    if not request.dry_run:
        _write(trees, request)
    return planned


def _write(trees: Sequence[SkillTree], request: Request) -> None:
    try:
        write_trees(trees, request.output, check=_check(request))
    except OutputError:
        first, path = trees[0], request.output / CREATOR_SKILL
        # Another falq may have installed the very same creator skill a moment ago.
        if first.name != CREATOR_SKILL or not is_current(first, path):
            raise
        write_trees(trees[1:], request.output, check=_check(request))


def _names(models: Sequence[ModelFacts], request: Request) -> dict[str, str]:
    if request.name is not None:
        return {models[0].model_id: check_skill_name(request.name)}
    ids = [facts.model_id for facts in models]
    return choose_names(ids, lambda name: owner_of(request.output / name))


def _plan(facts: ModelFacts, name: str, request: Request) -> Made:
    target = request.output / name
    tree = build_tree(facts, name, _options(name, request))
    lenient = request.force or request.dry_run
    replaces = check_replaceable(tree, request.output, facts.model_id, force=lenient)
    made = "regenerated" if replaces else "created"
    schema, changes = _compared(target, facts)
    return Made(
        facts=facts,
        tree=tree,
        path=target,
        status="planned" if request.dry_run else made,
        schema=schema if replaces else "new",
        changes=changes,
        warnings=tuple(_warnings(facts, tree, request, replaces=replaces)),
    )


def _options(name: str, request: Request) -> SkillOptions:
    return SkillOptions(
        lazy=request.lazy,
        standalone=request.standalone,
        public=request.public,
        shown_folder=_shown(request.output, name),
        python=sys.executable if request.linked else None,
    )


def _warnings(
    facts: ModelFacts, tree: SkillTree, request: Request, *, replaces: bool
) -> Iterator[str]:
    usual = request.output / skill_name(facts.model_id)
    owner = owner_of(usual)
    if request.name is None and usual.name != tree.name and owner not in (None, facts.model_id):
        what = f"the skill of {owner}" if owner else "something that falq did not generate"
        yield f"{usual} is {what} and stays; this skill is named {tree.name}"
    edited = edited_files(request.output / tree.name, tree) if replaces else []
    if edited:
        would = "would be" if request.dry_run else "were"
        only = "" if request.force else " with --force only"
        yield f"{tree.name}: edited files {would} replaced{only}: {', '.join(edited)}"


def _shown(output: Path, name: str) -> str:
    # An absolute path would tie the skill to this machine.
    inside = not output.is_absolute() and ".." not in output.parts
    return (output / name).as_posix() if inside else ""


def _compared(folder: Path, facts: ModelFacts) -> tuple[str, tuple[str, ...]]:
    """Tell how the schema stands to the one that lies there, and what changed."""
    try:
        shown = json.loads((folder / "references" / "schema.lock.json").read_text("utf-8"))
        old = SchemaLock.from_dict(shown).schema
    except (OSError, ValueError, ConfigurationError):
        return "unknown", ()
    given = input_changes(old.input, facts.schema.input)
    changes = [*given, *output_changes(old.output, facts.schema.output)]
    if changes:
        return "changed", tuple(map(str, changes))
    return "unchanged" if old.sha256 == facts.schema.sha256 else "texts changed", ()


def _check(request: Request) -> Callable[[Path], None] | None:
    if not request.public:
        return None
    paths = [Path.home(), Path.cwd(), request.output.absolute()]
    # The system's own prefix is the same everywhere and stands in code of ours.
    paths += [Path(sys.prefix)] if sys.prefix != sys.base_prefix else []
    secrets = request.secrets
    return lambda folder: check_public(folder, secrets=secrets, machine_paths=paths)
