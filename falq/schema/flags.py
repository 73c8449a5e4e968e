"""Names of the command-line flags of a model's inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from falq.schema.fields import Field

#: A longer name is no name that a person types; such a field is given through --args.
_MAX_FLAG_CHARS = 40


def flag_names(fields: Iterable[Field], taken: Iterable[str]) -> dict[str, str]:
    """Give each field its flag, by field name; those that cannot have one are left out.

    A flag that is taken, or meets one of another field, becomes ``--input-…``.

    >>> flag_names([Field(name="image_url"), Field(name="output")], ["--output", "-o"])
    {'image_url': '--image-url', 'output': '--input-output'}
    """
    used, found = {*taken, "--help"}, dict[str, str]()
    for field in fields:
        stem = re.sub(r"[^a-z0-9]+", "-", field.name.lower()).strip("-")
        for flag in (f"--{stem}", f"--input-{stem}") if _is_typeable(stem) else ():
            both = {flag, negated(flag)} if field.kind == "boolean" else {flag}
            if not both & used:
                found[field.name] = flag
                used |= both
                break
    return found


def negated(flag: str) -> str:
    """Give the flag that says no.

    >>> negated("--sync-mode")
    '--no-sync-mode'
    """
    return f"--no-{flag.removeprefix('--')}"


def _is_typeable(stem: str) -> bool:
    return 0 < len(stem) <= _MAX_FLAG_CHARS
