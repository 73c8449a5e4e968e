"""What of fal's words may be shown and stored: short, printable, no files, no echo."""

from __future__ import annotations

import json
import re
from typing import Any

#: One text of an error; fal's own are far shorter, an echo of a prompt is longer.
MAX_TEXT_CHARS = 500
#: What is larger as a whole is left out: the message has the words.
MAX_JSON_CHARS = 16_384
_MAX_ITEMS = 20
_MAX_DEPTH = 6
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+[;,][^\s\"'<>\\]*")
#: A key has the form ``uuid:hex``; a server may echo it.
_KEY = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}:[0-9a-zA-Z]{16,}")
#: ``input`` repeats what was sent, the prompt and whole files included.
_ECHOES = frozenset(("input",))


def clean_text(text: str) -> str:
    """Make a text fit for a terminal and a log.

    >>> clean_text("bad file data:image/png;base64,AAAA" + chr(10) + "sorry")
    'bad file <data URI> sorry'
    """
    head = text[: MAX_TEXT_CHARS * 20]
    shown = _KEY.sub("<key>", _DATA_URI.sub("<data URI>", head))
    shown = "".join(char if char.isprintable() else " " for char in shown).strip()
    return shown if len(shown) <= MAX_TEXT_CHARS else f"{shown[:MAX_TEXT_CHARS]}…"


def clean(value: Any) -> Any:
    """Make JSON of fal fit to be stored in an error: shortened, without echoes.

    >>> clean({"msg": "too long", "input": {"prompt": "..."}})
    {'msg': 'too long'}
    """
    kept = _clean(value, 0)
    return kept if len(json.dumps(kept)) <= MAX_JSON_CHARS else None


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict | list) and depth >= _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        kept = [(name, item) for name, item in value.items() if name not in _ECHOES]
        return {clean_text(name): _clean(item, depth + 1) for name, item in kept[:_MAX_ITEMS]}
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value[:_MAX_ITEMS]]
    return value
