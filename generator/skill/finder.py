"""Reach falq: in this interpreter, in the one that generated the skill, or on PATH."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
INSTALL = "falq is not installed for this Python: pip install falq  (Python 3.11 or newer)"


def add_own_copy() -> None:
    """Put the copy of falq beside this file first, for child processes too."""
    copy = str(SCRIPTS / "_falq")
    if os.path.isdir(copy) and copy not in sys.path:  # noqa: PTH112  # a string is needed anyway
        sys.path.insert(0, copy)
        others = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([copy, others] if others else [copy])


def has_falq() -> bool:
    """Tell whether this interpreter can import falq."""
    from importlib.util import find_spec

    add_own_copy()
    return sys.version_info >= (3, 11) and find_spec("falq") is not None


def recorded_python() -> str | None:
    """Give the interpreter that generated this skill, if it is still there."""
    import json

    try:
        recorded = json.loads((SCRIPTS / "falq_runtime.json").read_text(encoding="utf-8"))
        python = str(recorded["python"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return python if os.access(python, os.X_OK) else None


def become(words: list[str]) -> int:
    """Go on as another program, once: what it starts does not look any further."""
    os.environ["FALQ_DOOR"] = "1"
    if os.name != "nt":
        os.execv(words[0], words)  # noqa: S606  # a fixed program, no shell wanted
    import subprocess

    return subprocess.call(words)


def enter(here: Callable[[], int], words: list[str]) -> int:
    """Run ``here()`` if falq is in this interpreter, else go on in another one.

    Args:
        here: Ends with the exit code.
        words: Arguments of the falq command that do the same.
    """
    if has_falq():
        try:
            return here()
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] in ("falq", "workers", "generator"):
                raise
            sys.stderr.write(f"missing {error.name}: pip install -r requirements.txt\n")
            return 2
    if "FALQ_DOOR" not in os.environ:
        from shutil import which

        python, command = recorded_python(), which("falq")
        if python is not None:
            return become([python, *sys.argv])
        if command is not None:
            return become([command, *words])
    sys.stderr.write(INSTALL + "\n")
    return 2
