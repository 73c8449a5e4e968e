"""YAML files that people edit: read with bounds, and with the line where each key stands.

A skill folder may come from anywhere, so a file is data to distrust: only plain values, no
aliases (billion laughs), no tags, bounded in size and depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falq.errors import ConfigurationError

if TYPE_CHECKING:
    import yaml

#: Far above any real file; keeps a hostile one from costing time or memory.
MAX_FILE_BYTES = 64 * 1024
#: The deepest valid file has three levels; parsing deeper ones would only recurse.
MAX_DEPTH = 8
#: As much of a wrong value as a message shows.
SHOWN_CHARS = 80


@dataclass(frozen=True)
class Entry:
    """One key of a mapping with its value and the place where it stands."""

    key: str
    value: Any
    path: Path
    line: int
    node: yaml.Node

    @property
    def place(self) -> str:
        """File and line, as editors understand them."""
        return f"{self.path}:{self.line}"

    def children(self) -> list[Entry]:
        """Give the entries of a value that is itself a mapping."""
        return list(_entries(self.node, self.path))

    def refuse(self, name: str, expected: str) -> ConfigurationError:
        """Make the error for a value that does not fit."""
        return ConfigurationError(
            f"{self.place}: {name} is {shown(self.value)}: expected {expected}"
        )


def read_entries(path: Path) -> list[Entry]:
    """Read the top mapping of a file; an empty file has no entries.

    Raises:
        ConfigurationError: It cannot be read, is no YAML, no mapping, too large or too deep,
            names a key twice, or uses aliases or tags.
    """
    import yaml

    text = _read_text(path)
    try:
        _check_shape(text, path)
        node = yaml.compose(text, Loader=_loader())
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return []
        return list(_entries(node, path))
    except (yaml.YAMLError, ValueError) as err:
        raise _unreadable(path, err) from err


def shown(value: Any) -> str:
    """Show a wrong value in a message, shortened and with control characters escaped."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            raise ConfigurationError(f"{path} is no file: expected a file of settings")
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise ConfigurationError(f"{path} cannot be read: {err.strerror}") from err
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise ConfigurationError(f"{path} is no UTF-8 text: expected YAML") from err


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_shape(text: str, path: Path) -> None:
    """Refuse aliases and deep nesting before anything is built from the events."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            raise _too_deep(f"{path}:{_line(event)}")


def _too_deep(place: str) -> ConfigurationError:
    return ConfigurationError(
        f"{place}: aliases (*name) and nesting deeper than {MAX_DEPTH} are refused: "
        "expected plain settings"
    )


def _entries(node: yaml.Node, path: Path) -> Iterator[Entry]:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        line = _line(node)
        raise ConfigurationError(
            f"{path}:{line}: {shown(_construct(node))}: expected settings as 'name: value'"
        )
    seen = set()
    for key_node, value_node in node.value:
        key, line = str(_construct(key_node)), _line(key_node)
        if key in seen:
            raise ConfigurationError(f"{path}:{line}: {shown(key)} is given twice: expected once")
        seen.add(key)
        yield Entry(key, _construct(value_node), path, line, value_node)


def _line(node: Any) -> int:
    return node.start_mark.line + 1 if node.start_mark is not None else 1


def _construct(node: yaml.Node) -> Any:
    from yaml.constructor import SafeConstructor

    return SafeConstructor().construct_document(node)


def _unreadable(path: Path, err: Exception) -> ConfigurationError:
    mark: Any = getattr(err, "problem_mark", None) or getattr(err, "context_mark", None)
    place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
    problem = getattr(err, "problem", None) or str(err).partition("\n")[0]
    # libyaml has a bound of its own since PyYAML 6.0.4, and meets it before it gives an event.
    if "nesting depth" in problem:
        return _too_deep(place)
    return ConfigurationError(f"{place}: is no valid YAML: {problem}")
