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
_SUFFIXES: Mapping[str, str] = {
    "image": "png jpg jpeg webp gif avif heic bmp tif tiff svg jxl",
    "video": "mp4 mov webm mkv m4v avi mpg mpeg",
    "audio": "mp3 wav ogg opus flac m4a aac aiff amr",
    "archive": "zip tar tgz gz 7z",
    "file": "glb gltf obj stl ply fbx usdz safetensors ckpt pt bin pdf npy npz json csv srt txt",
}
_KIND_BY_SUFFIX = {end: kind for kind, ends in _SUFFIXES.items() for end in ends.split()}
#: Kinds that no field takes in place of one another; a GIF or a film may be either.
_SHARP = ("image", "video", "audio")
_LOCAL_START = re.compile(r"^(?:\.{1,2}/|~/|/(?!/)|file://|[A-Za-z]:\\|\.{1,2}\\)", re.IGNORECASE)
_FILE_WORDS = {"url", "urls", "uri", "uris", "path", "paths", "file", "files"}
#: Names of files to come, and of what a file is like.
_NO_PATH = {
    "name",
    "names",
    "filename",
    "format",
    "type",
    "extension",
    "output",
    "prefix",
    "prompt",
}
_SAYS_FILE = re.compile(r"\b(?:urls?|uris?|paths?|files?)\b", re.IGNORECASE)


def media_kind(name: str, ui: Any = None) -> str | None:
    """Give ``image``, ``video``, ``audio``, ``archive`` or ``file``; None for no media field.

    >>> media_kind("mask_url"), media_kind("audio_urls"), media_kind("webhook_url")
    ('image', 'audio', None)
    >>> media_kind("imageUrl"), media_kind("image_url_1")
    ('image', 'image')
    >>> media_kind("reference", {"field": "image"})
    'image'
    """
    hint = ui.get("field") if isinstance(ui, dict) else None
    if hint in (*_KINDS, "file"):
        return str(hint)
    lowered = _snake(name)
    if not _ADDRESS.search(lowered) or _NO_FILE & set(lowered.split("_")):
        return None
    return next((kind for kind, words in _KINDS.items() if _holds(lowered, words)), "file")


def is_remote(value: str) -> bool:
    """Tell an address from a local path.

    >>> is_remote("https://example.com/a.png"), is_remote("C:/a.png"), is_remote("./a.png")
    (True, False, False)
    """
    return _REMOTE.match(value) is not None


def suffix_kind(path: str) -> str | None:
    """Tell what kind of file a name says; None if it says none.

    >>> suffix_kind("a/b.WAV"), suffix_kind("Hello."), suffix_kind("x.y z")
    ('audio', None, None)
    """
    stem, dot, suffix = path.rpartition(".")
    return _KIND_BY_SUFFIX.get(suffix.lower()) if stem and dot else None


def contradicts(path: str, kind: str | None) -> bool:
    """Tell whether a file's name says that it is of another kind than a field takes.

    >>> contradicts("a.wav", "image"), contradicts("a.gif", "video"), contradicts("a", "image")
    (True, False, False)
    """
    said = suffix_kind(path)
    if said not in _SHARP or kind not in _SHARP or path.lower().endswith((".gif", ".webm")):
        return False
    # The sound of a film is taken too.
    return said != kind and not (said == "video" and kind == "audio")


def may_take_file(name: str, description: str = "") -> bool:
    """Tell whether a field's name or description speaks of files; what it takes may be another.

    >>> may_take_file("start_image"), may_take_file("still", "URL of it"), may_take_file("prompt")
    (True, True, False)
    """
    words = set(_snake(name).split("_"))
    known = {word for group in _KINDS.values() for word in group}
    if words & (_NO_FILE | _NO_PATH):
        return False
    return bool(words & (_FILE_WORDS | known)) or _SAYS_FILE.search(description) is not None


def starts_like_path(value: str) -> bool:
    """Tell whether a text begins as only paths do and ends as files do.

    >>> starts_like_path("./a.png"), starts_like_path("/imagine a cat"), starts_like_path("a.png")
    (True, False, False)
    """
    return _LOCAL_START.match(value) is not None and suffix_kind(value) is not None


def _snake(name: str) -> str:
    """Write a name as ``image_url``, without the number at its end."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.sub(r"_?\d+$", "", parted)


def _holds(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name for word in words)
