"""Put a skill on disk whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from falq.errors import OutputError, UsageError
from generator.tree import USERS_FILES, SkillTree

#: What an earlier generation may have left; everything else in a skill's folder is its user's.
_GENERATED_FOLDERS = ("scripts", "agents", "references")
_GENERATED_FILES = ("SKILL.md", "requirements.txt", *USERS_FILES)


def owner_of(folder: Path) -> str | None:
    """Tell whose skill lies in a folder: its model id, ``""`` if it is none, None if nothing."""
    if not os.path.lexists(folder):
        return None
    try:
        config = json.loads((folder / "references" / "model_config.json").read_text("utf-8"))
        return str(config["model_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def check_replaceable(folder: Path, model_id: str, *, force: bool) -> bool:
    """Tell whether a skill is there already that this one takes the place of.

    Raises:
        UsageError: Something else lies there, or it may only be replaced with --force.
    """
    owner = owner_of(folder)
    if owner is None:
        return False
    if folder.is_symlink() or owner != model_id:
        what = f"the skill of {owner!r}" if owner else "something that falq did not generate"
        raise UsageError(f"{folder} is {what}", "choose another name with -n or folder with -o")
    if not force:
        raise UsageError(
            f"{folder} is there already",
            "--force generates it again; its queue_config.yaml and your own files are kept",
        )
    return True


def write_tree(
    tree: SkillTree, output: Path, *, check: Callable[[Path], None] | None = None
) -> Path:
    """Write a skill beside its place and move it there; what was its user's is kept.

    Args:
        tree: The skill.
        output: Folder of skills; made if it is missing.
        check: Looks at the finished folder and may refuse it; nothing is changed then.

    Raises:
        OutputError: The disk refuses.
    """
    target = output / tree.name
    staging = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{tree.name}.", dir=output))
        _fill(staging, tree)
        _keep_users_files(target, staging)
        if check is not None:
            check(staging)
        staging.chmod(0o755)
        _swap(staging, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}", "nothing was changed") from (
            error
        )
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return target


def _fill(folder: Path, tree: SkillTree) -> None:
    paths = (folder / path for path in (*tree.files, *tree.links))
    for parent in sorted({path.parent for path in paths}):
        parent.mkdir(parents=True, exist_ok=True)
    for name, text in tree.files.items():
        path = folder / name
        path.write_bytes(text.encode())
        if name in tree.executable:
            path.chmod(0o755)
    for name, destination in tree.links.items():
        _link(folder / name, destination, folder.parent)


def _link(path: Path, destination: str, output: Path) -> None:
    try:
        path.symlink_to(destination)
    except OSError:
        # Some systems let nobody make links: a copy does the same until falq changes.
        source = output / Path(destination).relative_to("../..")
        shutil.copyfile(source, path)


def _keep_users_files(old: Path, staging: Path) -> None:
    for path in _users_files(old):
        destination = staging / path.relative_to(old)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, destination, follow_symlinks=False)


def _users_files(old: Path) -> Iterator[Path]:
    if not old.is_dir():
        return
    yield from (old / name for name in USERS_FILES if (old / name).is_file())
    for entry in sorted(old.iterdir()):
        if entry.name in _GENERATED_FILES or entry.name in _GENERATED_FOLDERS:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from sorted(path for path in entry.rglob("*") if not path.is_dir())
        else:
            yield entry


def _swap(staging: Path, target: Path) -> None:
    if not os.path.lexists(target):
        staging.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(old / "skill")
    try:
        staging.rename(target)
    except OSError:
        with suppress(OSError):
            (old / "skill").rename(target)
        raise
    finally:
        if os.path.lexists(target):
            shutil.rmtree(old, ignore_errors=True)
