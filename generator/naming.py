"""Names of skills, and of the files that carry them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

from falq.errors import UsageError
from falq.model_id import MAX_SKILL_NAME_CHARS, distinct_skill_name, module_name, skill_name

CREATOR_SKILL = "fal-skill-creator"
#: Scripts that every skill has beside its wrapper.
SHARED_SCRIPTS = ("fal_api_call", "queue_client", "queue_protocol", "queue_daemon")
#: A wrapper of such a name would hide a module from every script beside it.
_RESERVED_MODULES = {
    *(*SHARED_SCRIPTS, "generate_fal_skill", "falq", "workers", "generator"),
    *("click", "redis", "rq", "httpx", "yaml", "rich", "platformdirs", "fal_client"),
    *sys.stdlib_module_names,
}
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def check_skill_name(name: str) -> str:
    """Check a name that a person chose.

    >>> check_skill_name("my-flux")
    'my-flux'

    Raises:
        UsageError: No skill can have it.
    """
    if len(name) > MAX_SKILL_NAME_CHARS or not _NAME.fullmatch(name) or _is_reserved(name):
        raise UsageError(
            f"{name!r} cannot be the name of a skill: expected 1 to {MAX_SKILL_NAME_CHARS} of a-z, "
            "0-9 and single hyphens inside, and no name of a Python module or a shared script"
        )
    return name


def choose_names(model_ids: Sequence[str], owner_of: Callable[[str], str | None]) -> dict[str, str]:
    """Give each model a skill name of its own, by model id.

    Args:
        model_ids: What is generated at once.
        owner_of: The model whose skill of a name is there already.

    >>> choose_names(["a/b-c", "a/b/c"], lambda name: None)
    {'a/b-c': 'a-b-c', 'a/b/c': 'a-b-c-d76a7b72'}
    """
    found: dict[str, str] = {}
    for model_id in dict.fromkeys(model_ids):
        name = skill_name(model_id)
        foreign = owner_of(name) not in (None, model_id)
        if foreign or _is_reserved(name) or name in found.values():
            name = distinct_skill_name(model_id)
        found[model_id] = name
    return found


def _is_reserved(name: str) -> bool:
    return name == CREATOR_SKILL or module_name(name) in _RESERVED_MODULES
