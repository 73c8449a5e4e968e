"""What must not be in a skill that strangers get: links, secrets, paths of this machine."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from falq.errors import UsageError
from generator.scripts import copied_falq

#: Beginnings that providers give to their keys.
_KEY = (
    r"\b(?:sk-[A-Za-z0-9_-]{20,}|[sr]k_live_[A-Za-z0-9]{16,}|A[KS]IA[A-Z0-9]{16}|hf_[A-Za-z0-9]{20,}|"
    r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{20,}|glpat-[\w-]{20,}|AIza[\w-]{30,}|r8_[A-Za-z0-9]{30,}|"
    r"xox[abeprs]-[A-Za-z0-9-]{10,}|npm_[A-Za-z0-9]{30,}|eyJ[\w-]{10,999}\.eyJ[\w-]{10,})"
)
#: A name that says so, and a value with a digit, a sign or a capital inside, as words have none.
_NAMED = (
    r"(?i:secret|passwd|password|pwd|api[_-]?key|access[_-]?key|private[_-]?key|token|fal_key)"
    r"[A-Za-z_-]{0,20}\\?[\"']?\s{0,3}[:=]\s{0,3}\\?[\"']?"
    r"(?=[^\s\"',;]{0,200}(?:\d|[a-z][A-Z]|[!@#%^&*+$]))(?![{\[(<$%]|[\d.]+\b)[^\s\"',;]{8}"
)
_SECRETS = {
    "a fal.ai key": re.compile(
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:[0-9a-f]{16,}\b",
        re.IGNORECASE,
    ),
    "a key": re.compile(_KEY),
    "a secret by its name": re.compile(_NAMED),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a password in an address": re.compile(
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@{}<>]*:[^\s/@{}<>]+@", re.IGNORECASE
    ),
}
#: What a backslash after a drive's letter may be instead: an escape of JSON.
_PATHS = re.compile(
    r"(?<![\w.~:/>-])/(?:home|Users|root|opt|srv|var|mnt|media|private|Volumes|tmp|etc|usr/local|"
    r"workspaces?|data|nix)/[\w.-]+"
    r"|\bfile:/+[\w.]"
    r"|\b[A-Za-z]:\\(?:\\[\w.-]|(?![nrtbfu\"\\])[\w.-])"
)
#: A shorter one is no key, and would be found in every second word.
_MIN_SECRET_CHARS = 12
#: Where falq's own code lies, whose examples look like secrets and are none.
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
    forms = [form for secret in secrets for form in _forms(secret)]
    found = list(_findings(folder, forms, paths))
    if found:
        shown = "; ".join(found[:10])
        raise UsageError(
            f"not fit for --public: {shown}",
            "nothing was written; generate with --standalone if it is not for strangers",
        )


def _forms(secret: str) -> Iterator[str]:
    """Give a secret as it is, and what is in any base64 that holds it."""
    if len(secret) < _MIN_SECRET_CHARS:
        return
    yield secret
    for offset in range(3):
        # What stands beside it changes only the first and the last digits.
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).decode().rstrip("=")
        inner = encoded[-(-offset * 8 // 6) : -1]
        yield inner
        yield inner.translate(str.maketrans("+/", "-_"))


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
    own = _is_own_code(shown, text)
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{shown}:{number} holds"
        if not own:
            yield from (f"{place} {kind}" for kind, mark in _SECRETS.items() if mark.search(line))
        if any(secret in line for secret in secrets):
            yield f"{place} the key in use"
        if any(path in line for path in paths) or (not own and _PATHS.search(line)):
            yield f"{place} a path of a machine"


def _is_own_code(shown: str, text: str) -> bool:
    return copied_falq().get(shown.removeprefix(_OWN_CODE)) == text
