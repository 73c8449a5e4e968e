"""Tell which inputs take the address of a file, so that a local path can be uploaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_KINDS: Mapping[str, tuple[str, ...]] = {
    "archive": ("archive", "zip", "images_data"),
    "video": ("video", "movie", "clip"),
    "audio": ("audio", "voice", "speech", "music", "sound", "song", "vocal"),
    "image": ("image", "img", "mask", "photo", "picture", "frame", "face", "garment", "portrait"),
}
_ADDRESS = re.compile(r"(?:^|_)ur[li]s?$")
_NO_FILE = {"webhook", "callback", "endpoint", "website", "page", "api", "repo", "proxy"}
_REMOTE = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]+://|data:)")


def media_kind(name: str, ui: Any = None) -> str | None:
    """Give ``image``, ``video``, ``audio``, ``archive`` or ``file``; None for no media field.

    >>> media_kind("mask_url"), media_kind("audio_urls"), media_kind("webhook_url")
    ('image', 'audio', None)
    >>> media_kind("reference", {"field": "image"})
    'image'
    """
    hint = ui.get("field") if isinstance(ui, dict) else None
    if hint in (*_KINDS, "file"):
        return str(hint)
    lowered = name.lower()
    if not _ADDRESS.search(lowered) or _NO_FILE & set(lowered.split("_")):
        return None
    return next((kind for kind, words in _KINDS.items() if _holds(lowered, words)), "file")


def is_remote(value: str) -> bool:
    """Tell an address from a local path.

    >>> is_remote("https://example.com/a.png"), is_remote("C:/a.png"), is_remote("./a.png")
    (True, False, False)
    """
    return _REMOTE.match(value) is not None


def _holds(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name for word in words)
