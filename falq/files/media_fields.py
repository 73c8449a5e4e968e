"""Which values of a model's arguments are local files that must be uploaded first. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from falq.schema.media import may_take_file, starts_like_path, suffix_kind

#: Tells the kind of file that a field of this name and ``ui`` hint takes, None for no file;
#: ``falq.schema.media.media_kind`` does.
MediaKind = Callable[[str, Any], str | None]
Keys = tuple[str | int, ...]
_REMOTE = re.compile(r"^(?:(?!file:)[A-Za-z][A-Za-z0-9+.-]+://|data:)", re.IGNORECASE)
#: Lists of model weights: their ``path`` is a URL, a file or a repository of a model hub.
_WEIGHTS = frozenset({"loras", "lora", "embeddings", "controlnets", "ip_adapters"})


@dataclass(frozen=True, kw_only=True)
class LocalValue:
    """A value that is no address though its field takes one.

    Attributes:
        keys: Where it stands in the arguments.
        path: The value, as a path.
        found: There is such a file; if not, the caller made a mistake.
    """

    keys: Keys
    path: str
    found: bool

    @property
    def field(self) -> str:
        """Where it stands, for messages.

        >>> LocalValue(keys=("loras", 0, "path"), path="a", found=True).field
        'loras[0].path'
        """
        names = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return "".join(names).lstrip(".")


def find_local(
    arguments: Mapping[str, Any],
    *,
    is_file: Callable[[str], bool],
    media_kind: MediaKind,
    properties: Mapping[str, Any] | None = None,
) -> tuple[LocalValue, ...]:
    """Find the local paths in the media fields of arguments, in their order.

    In a field whose name or description only speaks of files, what begins or exists as a path
    counts; anything else there may be an id or a word that the model knows.

    Args:
        arguments: What would be sent.
        is_file: Tells whether a path exists as a file.
        media_kind: Tells media fields.
        properties: The input schema's, for ``ui`` hints; names alone serve where it is missing.
    """
    walk = _Walk(is_file, media_kind)
    return tuple(walk.object(arguments, properties or {}, ()))


def with_urls(arguments: Mapping[str, Any], urls: Mapping[Keys, str]) -> dict[str, Any]:
    """Give a copy of the arguments with uploaded files' URLs in place of their paths.

    >>> with_urls({"image_urls": ["a.png", "b.png"]}, {("image_urls", 1): "https://h/b.png"})
    {'image_urls': ['a.png', 'https://h/b.png']}
    """
    return {name: _replaced(value, (name,), urls) for name, value in arguments.items()}


@dataclass(frozen=True)
class _Walk:
    is_file: Callable[[str], bool]
    media_kind: MediaKind

    def object(
        self, node: Mapping[str, Any], properties: Mapping[str, Any], at: Keys
    ) -> Iterator[LocalValue]:
        for name, value in node.items():
            schema = properties.get(name)
            known = schema if isinstance(schema, Mapping) else {}
            kind = self.media_kind(name, known.get("ui"))
            weights = name == "path" and any(key in _WEIGHTS for key in at)
            odd = weights or may_take_file(name, str(known.get("description", "")))
            yield from self.value(value, (*at, name), known, named=kind is not None, odd=odd)

    def value(
        self, value: Any, at: Keys, schema: Mapping[str, Any], *, named: bool, odd: bool
    ) -> Iterator[LocalValue]:
        if isinstance(value, str):
            yield from self._text(value, at, named=named, odd=odd)
        elif isinstance(value, Mapping):
            yield from self.object(value, _mapping(schema, "properties"), at)
        elif isinstance(value, list):
            items = _mapping(schema, "items")
            for index, item in enumerate(value):
                yield from self.value(item, (*at, index), items, named=named, odd=odd)

    def _text(self, value: str, at: Keys, *, named: bool, odd: bool) -> Iterator[LocalValue]:
        if not (named or odd) or not value or _REMOTE.match(value):
            return
        path = plain_path(value)
        found = self.is_file(path)
        sure = named or starts_like_path(path)
        if sure or (found and suffix_kind(path) is not None):
            yield LocalValue(keys=at, path=path, found=found)


def plain_path(text: str) -> str:
    """Give the path that a ``file:`` URL means; a plain path stays as it is.

    >>> plain_path("file:///u/a%20b.png"), plain_path("file://localhost/u/a.png")
    ('/u/a b.png', '/u/a.png')
    >>> plain_path("50%20off.png")
    '50%20off.png'
    """
    if not text.lower().startswith("file://"):
        return text
    rest = unquote(text[len("file://") :])
    return rest[len("localhost") :] if rest.lower().startswith("localhost/") else rest


def _mapping(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = schema.get(name)
    return found if isinstance(found, Mapping) else {}


def _replaced(value: Any, at: Keys, urls: Mapping[Keys, str]) -> Any:
    if at in urls:
        return urls[at]
    if isinstance(value, Mapping):
        return {name: _replaced(item, (*at, name), urls) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, (*at, index), urls) for index, item in enumerate(value)]
    return value
