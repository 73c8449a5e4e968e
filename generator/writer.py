"""Put skills on disk, all of them whole or none of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from falq.errors import OutputError, UsageError
from generator.generated_files import (
    RECORD,
    check_unedited,
    kept_paths,
    mark_of_link,
    mark_of_text,
    record_text,
)
from generator.scripts import shared_scripts
from generator.tree import USERS_FILES, SkillTree

Check = Callable[[Path], None]
_FORCE = "--force replaces them; queue_config.yaml and all other files are kept"


def owner_of(folder: Path) -> str | None:
    """Tell whose skill lies in a folder: its model id, ``""`` if it is none, None if nothing."""
    if not os.path.lexists(folder):
        return None
    try:
        config = json.loads((folder / "references" / "model_config.json").read_text("utf-8"))
        return str(config["model_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def check_replaceable(tree: SkillTree, output: Path, model_id: str, *, force: bool) -> bool:
    """Tell whether a skill is there already that this one takes the place of.

    Raises:
        UsageError: Something else lies there, or it may only be replaced with --force.
    """
    folder = output / tree.name
    owner = owner_of(folder)
    if owner is None:
        return False
    if folder.is_symlink() or owner != model_id:
        what = f"the skill of {owner!r}" if owner else "something that falq did not generate"
        what = f"a link to {folder.readlink()}" if folder.is_symlink() else what
        raise UsageError(f"{folder} is {what}", "choose another name with -n or folder with -o")
    if not force:
        check_unedited(folder, tree, _FORCE)
    return True


def write_trees(trees: Sequence[SkillTree], output: Path, *, check: Check | None = None) -> None:
    """Write skills beside their places and move them there; what falq did not write is kept.

    Args:
        trees: The skills.
        output: Folder of skills; made if it is missing.
        check: Looks at each finished folder and may refuse it; nothing is changed then.

    Raises:
        UsageError: Something there can neither be kept nor replaced.
        OutputError: The disk refuses.
    """
    missing = [path for path in (output, *output.parents) if not path.exists()]
    staged: list[_Staged] = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for tree in trees:
            staged.append(_Staged.beside(output / tree.name))
            _fill(staged[-1], tree)
            if check is not None:
                check(staged[-1].folder)
        _swap_all(staged)
    except OSError as error:
        place = error.filename or output / trees[0].name
        raise OutputError(
            f"cannot write {place}: {error.strerror or error}", "nothing was changed"
        ) from error
    finally:
        for one in staged:
            shutil.rmtree(one.folder, ignore_errors=True)
        # Folders that were made for nothing; one that holds something stays.
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@dataclass(kw_only=True)
class _Staged:
    """A finished folder beside its place, and where the old one lies until all are in place."""

    folder: Path
    target: Path
    old: Path | None = None
    swapped: bool = False

    @classmethod
    def beside(cls, target: Path) -> _Staged:
        return cls(
            folder=Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)),
            target=target,
        )

    def swap(self) -> None:
        self.folder.chmod(0o755)
        if os.path.lexists(self.target):
            self.old = Path(
                tempfile.mkdtemp(prefix=f".{self.target.name}.old.", dir=self.target.parent)
            )
            self.target.rename(self.old / "skill")
        self.folder.rename(self.target)
        self.swapped = True

    def undo(self) -> None:
        if self.swapped:
            self.target.rename(self.folder)
        if self.old is not None and os.path.lexists(self.old / "skill"):
            (self.old / "skill").rename(self.target)

    def forget_old(self) -> None:
        if self.old is not None:
            shutil.rmtree(self.old, ignore_errors=True)


def _swap_all(staged: Sequence[_Staged]) -> None:
    done: list[_Staged] = []
    try:
        for one in staged:
            done.append(one)
            one.swap()
    except BaseException:
        for one in reversed(done):
            with suppress(OSError):
                one.undo()
        raise
    finally:
        for one in done:
            if os.path.lexists(one.target):
                one.forget_old()


def _fill(staged: _Staged, tree: SkillTree) -> None:
    folder = staged.folder
    paths = (folder / path for path in (*tree.files, *tree.links, RECORD))
    for parent in sorted({path.parent for path in paths}):
        parent.mkdir(parents=True, exist_ok=True)
    marks = {}
    for name, text in tree.files.items():
        path = folder / name
        path.write_bytes(text.encode())
        marks[name] = mark_of_text(text)
        if name in tree.executable:
            path.chmod(0o755)
    for name, destination in tree.links.items():
        marks[name] = _link(folder / name, destination)
    (folder / RECORD).write_text(record_text(marks), encoding="utf-8")
    _keep(staged, tree)


def _link(path: Path, destination: str) -> str:
    try:
        path.symlink_to(destination)
    except OSError:
        # Some systems let nobody make links: a copy does the same until falq changes.
        text = shared_scripts()[path.name]
        path.write_bytes(text.encode())
        return mark_of_text(text)
    return mark_of_link(destination)


def _keep(staged: _Staged, tree: SkillTree) -> None:
    if not staged.target.is_dir() or staged.target.is_symlink():
        return
    for name in kept_paths(staged.target, tree):
        source, destination = staged.target / name, staged.folder / name
        if os.path.lexists(destination) and name not in USERS_FILES:
            raise UsageError(f"{source} is where falq has a folder", "move it away or use -n")
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            destination.mkdir()
        else:
            destination.unlink(missing_ok=True)
            shutil.copy2(source, destination, follow_symlinks=False)
