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


def missing(name: str) -> str:
    """Say in one line how to install what is missing."""
    listed = SCRIPTS.parent / "requirements.txt"
    if name.partition(".")[0] in ("falq", "workers", "generator") or not listed.is_file():
        return INSTALL
    return f"missing {name}: {sys.executable} -m pip install -r {listed}"


def give_up(line: str, hint: str = "") -> int:
    """Print one line, and for programs the failed result; give the exit code."""
    if not sys.stdout.isatty():
        import json

        empty = dict.fromkeys(("model_id", "request_id", "job_id"))
        error = {"type": "ConfigurationError", "message": line, "hint": hint, **empty}
        error |= {"model_id": globals().get("MODEL_ID"), "retryable": False}
        print(json.dumps({"status": "FAILED", "error": {**error, "may_be_billed": False}}))  # noqa: T201  # for programs
    sys.stderr.write(f"{line}\n")
    return 2


def become(words: list[str], door: str) -> int:
    """Go on as another program, which looks no further than the doors after this one."""
    os.environ["FALQ_DOOR"] = door
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
            return give_up(missing(str(error.name)))
    from contextlib import suppress
    from shutil import which

    # A recorded interpreter may have lost its falq: then it comes back here, by the second door.
    door, python, command = os.environ.get("FALQ_DOOR"), recorded_python(), which("falq")
    with suppress(OSError):
        if python is not None and door is None:
            return become([python, *sys.argv], "recorded")
    with suppress(OSError):
        if command is not None and door in (None, "recorded"):
            return become([command, *words], "command")
    return give_up(INSTALL)
