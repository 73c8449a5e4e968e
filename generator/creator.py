"""The creator skill on disk: installed, renewed, and left alone where it is its user's own."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from falq.errors import OutputError, UsageError
from generator.generated_files import check_unedited, edited_files
from generator.naming import CREATOR_SKILL
from generator.tree import SkillTree, creator_tree
from generator.writer import write_trees

_OWN = (
    "move it away, or falq skill install --force to replace these files and keep all others;"
    " --standalone needs no fal-skill-creator"
)


@dataclass(frozen=True, kw_only=True)
class Creator:
    """The creator skill that linked skills need, and whether it is there already."""

    path: Path
    status: str


def install_creator(output: Path, *, force: bool = False) -> Creator:
    """Install the creator skill, or renew it where it is of another falq; safe to repeat.

    Raises:
        UsageError: Something there is not falq's, or was edited, and ``force`` is not given.
        OutputError: The disk refuses.
    """
    target = output / CREATOR_SKILL
    tree = creator_tree(_python(target))
    if is_current(tree, target):
        return Creator(path=target, status="kept")
    there = _is_folder(target)
    if there and not force:
        check_unedited(target, tree, _OWN)
    try:
        write_trees([tree], output)
    except OutputError:
        # Another falq may have installed the very same a moment ago.
        if not is_current(tree, target):
            raise
    return Creator(path=target, status="renewed" if there else "installed")


def plan_creator(output: Path, *, dry: bool) -> tuple[Creator, list[SkillTree]]:
    """Tell what linked skills need of the creator skill, and what must be written for it.

    Its scripts must be falq's; what else its user edited stays as it is.

    Raises:
        UsageError: Something there is not falq's, or its scripts were edited.
    """
    target = output / CREATOR_SKILL
    tree = creator_tree(_python(target))
    there = not is_current(tree, target) and _is_folder(target)
    edited = edited_files(target, tree) if there else []
    if any(path.startswith("scripts/") for path in edited):
        check_unedited(target, tree, _OWN)
    tree = replace(tree, files={p: text for p, text in tree.files.items() if p not in edited})
    if is_current(tree, target):
        return Creator(path=target, status="kept"), []
    status = "planned" if dry else "renewed" if there else "installed"
    return Creator(path=target, status=status), [tree]


def is_current(tree: SkillTree, folder: Path) -> bool:
    """Tell whether a folder holds every file of a tree as it is in there."""
    return all(_is_text(folder / path, text) for path, text in tree.files.items())


def _python(target: Path) -> str:
    """Give this interpreter by the name that is recorded already, or by its own."""
    try:
        recorded = json.loads((target / "scripts" / "falq_runtime.json").read_text("utf-8"))
        python = str(recorded["python"])
    except (OSError, ValueError, KeyError, TypeError):
        return sys.executable
    same = Path(python).parent == Path(sys.executable).parent and os.access(python, os.X_OK)
    return python if same else sys.executable


def _is_folder(target: Path) -> bool:
    if target.is_symlink():
        raise UsageError(f"{target} is a link to {target.readlink()}: falq replaces no link", _OWN)
    if os.path.lexists(target) and not target.is_dir():
        raise UsageError(f"{target} is no folder", _OWN)
    return target.is_dir()


def _is_text(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
