"""The state directory: who may own it, who may read it, what lies where in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from falq.errors import ConfigurationError

PRIVATE_MODE = 0o700


def ensure_home(home: Path) -> Path:
    """Create the state directory for this user alone, or check the one that is there.

    It holds the journal of paid calls and the socket of the embedded server, so one that
    others own or may enter is refused rather than mended. Safe to repeat and to race.

    Returns:
        The directory with symlinks resolved: all processes agree on one name.

    Raises:
        ConfigurationError: Says what is wrong with it and what to do.
    """
    try:
        home.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        real = home.resolve(strict=True)
        _check_private(real, real.stat())
    except OSError as err:
        raise ConfigurationError(
            f"FALQ_HOME {home} cannot be used: {err.strerror or err}",
            "set FALQ_HOME to a directory that you may write to",
        ) from err
    return real


def private_subdirectory(home: Path, name: str) -> Path:
    """Create or check a directory of our own inside the home (or another private place).

    Raises:
        ConfigurationError: It is a symlink, no directory, another user's or open to others.
    """
    path = home / name
    try:
        path.mkdir(mode=PRIVATE_MODE, exist_ok=True)
        _check_private(path, path.lstat())
    except OSError as err:
        raise ConfigurationError(
            f"{path} cannot be used: {err.strerror or err}",
            f"check that the disk has room and that you may write to {home}",
        ) from err
    return path


def redis_directory(home: Path) -> Path:
    """Give the embedded server's directory: its data, log, socket and lock."""
    return private_subdirectory(home, "redis")


def log_directory(home: Path) -> Path:
    """Give the directory for the logs of background processes."""
    return private_subdirectory(home, "logs")


def spool_directory(home: Path) -> Path:
    """Give the directory where a worker keeps artifacts until their caller has them."""
    return private_subdirectory(home, "spool")


def run_directory(home: Path) -> Path:
    """Give the directory for the locks and pids of running processes."""
    return private_subdirectory(home, "run")


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{path} is no directory", "move it away or set FALQ_HOME")
    if found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} belongs to user {found.st_uid}, you are {os.geteuid()}",
            "set FALQ_HOME to a directory of your own",
        )
    if found.st_mode & 0o077:
        raise ConfigurationError(
            f"{path} is open to other users (mode {stat.S_IMODE(found.st_mode):04o})",
            _way_out(path, found.st_mode),
        )


def _way_out(path: Path, mode: int) -> str:
    """Advise on a directory that is open to others: one that others use is not to be closed."""
    if mode & (stat.S_ISVTX | 0o022):
        return "choose another directory: set FALQ_HOME to a new one of your own"
    return f"chmod 700 {path}"
