"""The artifacts of a result: where in fal's JSON the files are.

Shapes vary from model to model (fal-api.md §7.5): objects with a ``url``, ``*_url`` strings,
lists of either, ``data:`` URIs, plain addresses of media. Whatever is found is untrusted text
and only a candidate: the downloader decides what may be fetched, and says what it refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from falq.files.content import by_suffix

#: Results are walked this deep; fal's own are not deeper than six.
MAX_DEPTH = 64
#: Fields whose plain strings are files, beside ``*_url`` and ``*_urls``.
MEDIA_FIELD = re.compile(r"^(?:image|video|audio|file|mask|mesh|texture)s?$")
_MAX_ADDRESS_CHARS = 8192
#: Addresses that are about the request or the source of a text, not files of the result.
NO_MEDIA_FIELDS = frozenset({
    "status_url", "response_url", "cancel_url", "queue_url", "webhook_url", "stream_url",
    "homepage_url", "documentation_url", "license_url", "thumbnail_page_url",
})  # fmt: skip
NO_MEDIA_BRANCHES = frozenset({"citations", "references", "search_results", "annotations"})
#: Where a model repeats what it was given.
_ECHO = re.compile(r"(?:^|\.)inputs?(?:[.\[]|$)")
_SCHEME = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://|data:)", re.IGNORECASE)
_DATA = re.compile(r"^data:[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+[^,]{0,200};base64,")
_ADDRESS = re.compile(r"^https://([^/\s?#]+)/[^\s?#]*?(?:\.([A-Za-z0-9]{2,11}))?(?:[?#]\S*)?$")
_FAL_MEDIA = re.compile(r"(?:^|\.)fal\.media$")
#: Kinds of files that are no media by their type; a suffix of films is TypeScript's, too.
_FILES_AS_WELL = frozenset({"zip", "safetensors", "fbx", "npz"})
_NO_FILES = frozenset({"ts"})
_TYPE = re.compile(r"^[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}$")
_PLAIN_KEY = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]{0,79}$")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file of a result as fal announces it; everything but ``field`` is fal's word.

    Attributes:
        url: Where it is; a ``data:`` URI holds it.
        content_type: Announced type without parameters, often missing.
        file_name: Announced name, for people; never used as a path.
        size: Announced size in bytes, often missing.
        field: Where it stood in the result, such as ``images[0]``.
    """

    url: str
    field: str
    content_type: str | None = None
    file_name: str | None = None
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class SavedFile:
    """One artifact on disk: an entry of ``files`` in a result (design 1.4).

    Attributes:
        path: Absolute path.
        url: Where it came from, a ``data:`` URI shortened; None for the result's own JSON.
        content_type: What the bytes are.
        bytes: Size.
        sha256: Hash in hex.
    """

    path: str
    url: str | None
    content_type: str
    bytes: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)

    @staticmethod
    def from_dict(shown: dict[str, Any]) -> SavedFile:
        """Rebuild from :meth:`to_dict`; fields that later versions add are left out."""
        return SavedFile(**{field.name: shown[field.name] for field in fields(SavedFile)})


def find_artifacts(result: Any) -> tuple[Artifact, ...]:
    """Find the files of a result in the order of its JSON, each URL once.

    >>> [a.field for a in find_artifacts({"images": [{"url": "https://h/1"}], "seed": 7})]
    ['images[0]']
    >>> [a.url for a in find_artifacts({"out": {"video_url": "https://h/v.mp4"}})]
    ['https://h/v.mp4']

    What a model repeats of its input counts only where nothing else is there.
    """
    found: dict[str, Artifact] = {}
    for artifact in _walk(result, "", "", 0):
        found.setdefault(artifact.url, artifact)
    made = tuple(a for a in found.values() if _ECHO.search(a.field) is None)
    return made or tuple(found.values())


def is_data_uri(url: str) -> bool:
    """Tell whether a URL carries its bytes itself."""
    return url[:5].lower() == "data:"


def short_url(url: str) -> str:
    """Give a URL fit for results and sidecars: a ``data:`` URI without its bytes.

    >>> short_url("data:image/png;base64,AAAA")
    'data:image/png;base64,… (26 characters)'
    """
    if not is_data_uri(url):
        return url
    return f"{url.partition(',')[0][:100]},… ({len(url)} characters)"


def shown_url(url: str) -> str:
    """Give a URL fit for messages and logs: a signed one loses its signature as well.

    >>> shown_url("https://h/a.png?X-Signature=secret")
    'https://h/a.png?…'
    """
    bare, question, _ = short_url(url).partition("?")
    return f"{bare[:300]}?…" if question else bare[:300]


def content_type_of(text: Any) -> str | None:
    """Take the bare type out of a content type header or field.

    >>> content_type_of("Image/PNG; charset=binary")
    'image/png'
    """
    bare = text.partition(";")[0].strip().lower() if isinstance(text, str) else ""
    return bare if _TYPE.match(bare) else None


def _walk(node: Any, path: str, key: str, depth: int) -> Iterator[Artifact]:
    if depth > MAX_DEPTH:
        return
    if isinstance(node, dict):
        yield from _object(node, path, key, depth)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _walk(item, f"{path}[{index}]", key, depth + 1)
    elif isinstance(node, str) and _is_file(key, node):
        yield Artifact(url=node, field=path)


def _object(node: dict[str, Any], path: str, key: str, depth: int) -> Iterator[Artifact]:
    url = _own_url(node)
    if url is not None:
        yield Artifact(
            url=url,
            field=path or "url",
            content_type=content_type_of(node.get("content_type")),
            file_name=_text(node.get("file_name")),
            size=_size(node.get("file_size")),
        )
    for name, value in node.items():
        if name not in NO_MEDIA_BRANCHES and not (name == "url" and url is not None):
            # Below "model_urls" each name is a format: {"glb": "https://…"}.
            inherited = key if key.endswith("_urls") else name
            yield from _walk(value, _join(path, name), inherited, depth + 1)


def _own_url(node: dict[str, Any]) -> str | None:
    url = node.get("url")
    if isinstance(url, str) and url.strip():
        return url
    data = node.get("file_data")
    if isinstance(data, str) and data:
        kind = content_type_of(node.get("content_type")) or "application/octet-stream"
        return f"data:{kind};base64,{data}"
    return None


def _is_file(key: str, text: str) -> bool:
    named = key.endswith(("_url", "_urls")) or MEDIA_FIELD.match(key) is not None
    if named and key not in NO_MEDIA_FIELDS:
        return _SCHEME.match(text) is not None
    return _DATA.match(text) is not None or (key not in NO_MEDIA_FIELDS and _is_address(text))


def _is_address(text: str) -> bool:
    """Tell the address of a media file, by its suffix or because fal's media host has it."""
    found = _ADDRESS.match(text) if len(text) < _MAX_ADDRESS_CHARS else None
    if found is None:
        return False
    kind = by_suffix(found[2] or "")
    known = kind is not None and kind.extension not in _NO_FILES
    if kind is not None and known:
        major = kind.content_type.partition("/")[0]
        known = major in ("image", "video", "audio", "model") or kind.extension in _FILES_AS_WELL
    return known or _FAL_MEDIA.search(found[1]) is not None


def _join(path: str, key: str) -> str:
    shown = key if _PLAIN_KEY.match(key) else f"[{json.dumps(key[:80])}]"
    return f"{path}.{shown}" if path and not shown.startswith("[") else f"{path}{shown}"


def _text(value: Any) -> str | None:
    return value[:255] if isinstance(value, str) and value else None


def _size(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if known else None
