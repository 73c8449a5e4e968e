"""Which files of a folder falq wrote and nobody has edited: only those are ever replaced."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from falq.errors import UsageError
from generator.tree import USERS_FILES, SkillTree

#: Where a generation leaves word of what it wrote: sha256 or link's target by path.
RECORD = "references/generated.json"
#: Python's own, made again by itself and full of this machine's paths.
_NOBODYS = "__pycache__"
_MAX_NAMED = 8

Marks = Mapping[str, str]


def mark_of_text(text: str) -> str:
    """Give the mark of a file by its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def mark_of_link(destination: str) -> str:
    """Give the mark of a link by where it leads."""
    return f"-> {destination}"


def record_text(marks: Marks) -> str:
    """Write down what was generated."""
    about = "What falq wrote here: a file that still has its mark is renewed, others are kept."
    return json.dumps({"about": about, "files": dict(sorted(marks.items()))}, indent=1) + "\n"


def read_record(folder: Path) -> Marks:
    """Read what an earlier generation wrote; nothing if it left no word."""
    try:
        files = json.loads((folder / RECORD).read_text("utf-8"))["files"]
        return {str(path): str(mark) for path, mark in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def edited_files(folder: Path, tree: SkillTree) -> list[str]:
    """List what is not falq's, or not any more, and would be replaced by a tree."""
    return sorted(path for path in _met(folder, tree) if path not in USERS_FILES)


def kept_paths(folder: Path, tree: SkillTree) -> Iterator[str]:
    """Walk what a tree leaves alone: the user's files, links, empty folders and settings.

    Raises:
        UsageError: Something is neither a file nor a folder nor a link.
    """
    record, written = read_record(folder), {*tree.files, *tree.links, RECORD}
    for path in _walk(folder):
        left_over = path in record and _mark(folder / path) == record[path]
        if path in USERS_FILES or not (path in written or left_over):
            yield path


def check_unedited(folder: Path, tree: SkillTree, hint: str) -> None:
    """Refuse to replace a user's own work.

    Raises:
        UsageError: Names the files.
    """
    edited = edited_files(folder, tree)
    if not edited:
        return
    names = ", ".join(edited[:_MAX_NAMED])
    more = f" and {len(edited) - _MAX_NAMED} more" if len(edited) > _MAX_NAMED else ""
    raise UsageError(
        f"{folder} holds files that falq did not write or that were edited since: {names}{more}",
        hint,
    )


def _met(folder: Path, tree: SkillTree) -> Iterator[str]:
    record = read_record(folder)
    wanted = _wanted_marks(tree)
    for path, mark in wanted.items():
        there = _mark(folder / path)
        if there is not None and there not in (mark, record.get(path)):
            yield path


def _wanted_marks(tree: SkillTree) -> dict[str, str]:
    files = {path: mark_of_text(text) for path, text in tree.files.items()}
    return {**files, **{path: mark_of_link(to) for path, to in tree.links.items()}}


def _mark(path: Path) -> str | None:
    """Give the mark of what lies there, empty for what has none; None if there is nothing."""
    if path.is_symlink():
        return mark_of_link(path.readlink().as_posix())
    if not os.path.lexists(path):
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _walk(folder: Path) -> Iterator[str]:
    """Walk files, links and empty folders, never through a link."""

    def fail(error: OSError) -> None:
        raise error

    for base, folders, names in os.walk(folder, onerror=fail):
        here = Path(base)
        if not folders and not names and here != folder:
            yield here.relative_to(folder).as_posix()
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name != _NOBODYS]
        for name in sorted([*links, *names]):
            _check_keepable(here / name)
            yield (here / name).relative_to(folder).as_posix()


def _check_keepable(path: Path) -> None:
    if not path.is_symlink() and not path.is_file():
        raise UsageError(
            f"{path} is neither a file nor a folder nor a link and cannot be kept",
            "move it away; nothing was written",
        )
