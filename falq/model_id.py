"""Model ids of fal: their grammar, and the names that are made from them.

The grammar is measured over 1,554 public ids (fal-api.md §10). A model id is compared
case-sensitively; names made from it are not distinct by case alone.
"""

from __future__ import annotations

import hashlib
import re

from falq.errors import UsageError

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_GRAMMAR = re.compile(
    rf"^(?:(?:workflows|comfy)/)?[A-Za-z0-9][A-Za-z0-9_.-]{{0,63}}/{_SEGMENT}(?:/{_SEGMENT}){{0,8}}$"
)
_PREFIX = re.compile(r"^https?://(?:fal\.ai/models|(?:queue\.)?fal\.run)/")
_NAMESPACES = ("workflows", "comfy")
MAX_MODEL_ID_CHARS = 200
#: RQ puts the name in a key and rq-dashboard in a URL path.
MAX_QUEUE_NAME_CHARS = 100
#: Skill names of the Agent Skills format.
MAX_SKILL_NAME_CHARS = 64


def parse_model_id(text: str) -> str:
    """Check a model id, taking off a pasted address and outer slashes.

    >>> parse_model_id("https://fal.ai/models/fal-ai/flux/dev/")
    'fal-ai/flux/dev'

    Raises:
        UsageError: It is none.
    """
    model_id = _PREFIX.sub("", text.strip()).strip("/")
    segments = model_id.split("/")
    fits = len(model_id) <= MAX_MODEL_ID_CHARS and _GRAMMAR.match(model_id) is not None
    short = segments[0] in _NAMESPACES and len(segments) < 3
    if not fits or short or "requests" in segments or ".." in model_id:
        raise UsageError(
            f"{text!r} is no fal.ai model id: expected owner/name such as fal-ai/flux/dev",
            "find one with: falq search QUERY",
        )
    return model_id


def app_id(model_id: str) -> str:
    """Give the part under which fal keeps the requests of a model (fal-api.md §2.1).

    >>> app_id("fal-ai/flux/dev"), app_id("workflows/jane/film/v2")
    ('fal-ai/flux', 'workflows/jane/film')
    """
    segments = model_id.split("/")
    return "/".join(segments[: 3 if segments[0] in _NAMESPACES else 2])


def slug(text: str) -> str:
    """Make ``[a-z0-9-]`` of a text; what is lost is lost.

    >>> slug("fal-ai/flux.1/dev")
    'fal-ai-flux-1-dev'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _shorten(name: str, origin: str, limit: int) -> str:
    return f"{name[: limit - 9].rstrip('-_.')}-{_digest(origin)}"


def skill_name(model_id: str) -> str:
    """Give the name of a model's skill: ``[a-z0-9-]``, at most 64.

    A hash is added where lower-casing, an underscore or shortening lost something; ids
    that still meet (``a/b-c``, ``a/b/c``) are told apart where a skill is written.

    >>> skill_name("fal-ai/flux/dev")
    'fal-ai-flux-dev'
    >>> skill_name("CassetteAI/music-generator") != skill_name("cassetteai/music-generator")
    True
    """
    name = slug(model_id)
    if len(name) > MAX_SKILL_NAME_CHARS or re.search(r"[A-Z_]", model_id):
        return distinct_skill_name(model_id)
    return name


def distinct_skill_name(model_id: str) -> str:
    """Give a skill name that carries a hash of the whole id.

    >>> distinct_skill_name("fal-ai/flux/dev")
    'fal-ai-flux-dev-383a4094'
    """
    return _shorten(slug(model_id), model_id, MAX_SKILL_NAME_CHARS)


def module_name(skill: str) -> str:
    """Give the wrapper's file stem for a skill.

    >>> module_name("fal-ai-flux-dev")
    'fal_ai_flux_dev'
    """
    name = skill.replace("-", "_")
    return name if name[:1].isalpha() else f"skill_{name}"


def queue_name(skill: str, model_id: str) -> str:
    """Give the RQ queue of a skill and its model: ``<skill>__<model>__v2``.

    ``[A-Za-z0-9_.-]``, at most 100 characters. The slash of a model id becomes an
    underscore, which hardly any id has; where that or shortening would lose something, a
    hash keeps names of different pairs different.

    >>> queue_name("falq", "fal-ai/flux/dev")
    'falq__fal-ai_flux_dev__v2'
    """
    name = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', skill)}__{model_id.replace('/', '_')}"
    plain = re.fullmatch(r"[A-Za-z0-9.-]+", skill) is not None and "_" not in model_id
    if plain and len(name) <= MAX_QUEUE_NAME_CHARS - 4:
        return f"{name}__v2"
    return f"{_shorten(name, f'{skill} {model_id}', MAX_QUEUE_NAME_CHARS - 4)}__v2"
