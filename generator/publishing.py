"""What must not be in a skill that strangers get: links, secrets, paths of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from falq.errors import UsageError

_SECRETS = {
    "a fal.ai key": re.compile(
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:[0-9a-f]{16,}\b",
        re.IGNORECASE,
    ),
    "a key": re.compile(r"\b(?:sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,})"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a password in an address": re.compile(r"\b(?:rediss?|https?)://[^\s/:@{}<>]*:[^\s/@{}<>]+@"),
}
_HOME_PATHS = re.compile(r"(?<![\w.~:/-])/(?:home|Users|root)/[\w.-]+|\b[A-Za-z]:\\\\?Users\\")
#: A shorter one is no key, and would be found in every second word.
_MIN_SECRET_CHARS = 12
#: Code of falq's own package, whose examples look like secrets and are none.
_OWN_CODE = "scripts/_falq/"
#: A shorter path such as ``/`` or ``/tmp`` says nothing about a machine.
_MIN_PATH_CHARS = 5


def check_public(folder: Path, *, secrets: Iterable[str], machine_paths: Iterable[Path]) -> None:
    """Refuse a skill's folder as it lies on disk.

    Args:
        folder: The whole tree is read.
        secrets: Values that must not be in it, such as the key in use.
        machine_paths: Directories of this machine that must not be named.

    Raises:
        UsageError: Names file, line and kind of each finding, never the secret.
    """
    paths = [str(path) for path in machine_paths if len(str(path)) >= _MIN_PATH_CHARS]
    found = list(_findings(folder, [s for s in secrets if len(s) >= _MIN_SECRET_CHARS], paths))
    if found:
        shown = "; ".join(found[:10])
        raise UsageError(
            f"not fit for --public: {shown}",
            "nothing was written; generate with --standalone if it is not for strangers",
        )


def _findings(folder: Path, secrets: list[str], paths: list[str]) -> Iterator[str]:
    for base, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            path = Path(base, name)
            shown = path.relative_to(folder).as_posix()
            if path.is_symlink():
                yield f"{shown} is a symlink"
            elif path.is_file():
                yield from _in_text(shown, path.read_text("utf-8", "replace"), secrets, paths)


def _in_text(shown: str, text: str, secrets: list[str], paths: list[str]) -> Iterator[str]:
    own = shown.startswith(_OWN_CODE)
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{shown}:{number} holds"
        if not own:
            yield from (f"{place} {kind}" for kind, mark in _SECRETS.items() if mark.search(line))
        if any(secret in line for secret in secrets):
            yield f"{place} the key in use"
        if any(path in line for path in paths) or (not own and _HOME_PATHS.search(line)):
            yield f"{place} a path of a machine"
