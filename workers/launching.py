"""Starts the background worker of a home, and vouches that it works."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from falq import presence
from falq.background import find_instance, spawn_detached
from falq.embedded import ensure_server
from falq.errors import FalqError, UnreachableError
from falq.home import ensure_home, log_directory
from falq.redis_link import check_server, connect, translate_redis_errors
from falq.settings import Settings

#: A worker that falq started by itself ends after so long without a job, seconds.
IDLE_EXIT_S = 15 * 60.0
#: A background worker is at work within this time, or something is wrong with it, seconds.
START_S = 15.0
_LOOK_EVERY_S = 0.02
_DOCTOR = "falq doctor tells more"


def instance_name(settings: Settings) -> str:
    """Name the one background worker of a home; another account has its own."""
    return f"worker-{settings.account}"


def start_background(settings: Settings, flags: Sequence[str] = ()) -> int:
    """Start the background worker of this home unless it runs; give its pid.

    It is up when it has said so in Redis: the lock it takes before it connects.

    Raises:
        FalqError: Redis cannot be used, or the worker ended with an error of its own.
    """
    home = ensure_home(settings.home)
    name = instance_name(settings)
    if settings.embedded:
        running = find_instance(home, name)
        if running is not None:
            return running
        ensure_server(home)
    with connect(settings, role="worker") as redis, translate_redis_errors():
        check_server(redis).require_no_eviction()
        running = find_instance(home, name)
        return _launch(settings, home, redis, flags) if running is None else running


def _launch(settings: Settings, home: Path, redis: Redis, flags: Sequence[str]) -> int:
    name = instance_name(settings)
    log = log_directory(home) / f"{name}.log"
    told_bytes = log.stat().st_size if log.exists() else 0
    argv = [sys.executable, "-m", "falq", "worker", "--idle-exit", str(IDLE_EXIT_S), *flags]
    # The account is that of the key in force, which FAL_KEY of ours need not be.
    env = dict(os.environ) | {"FALQ_HOME": str(home), "FAL_KEY": settings.require_key()}
    started = spawn_detached(argv, log, env)
    give_up_at = time.monotonic() + START_S
    while time.monotonic() < give_up_at:
        pid = find_instance(home, name)
        if pid is not None and _works(redis, pid):
            return pid
        if pid is None and not _lives(started):
            raise _why(log, told_bytes)
        time.sleep(_LOOK_EVERY_S)
    raise UnreachableError(f"the worker is not at work after {START_S:g} s: see {log}", _DOCTOR)


def _works(redis: Redis, pid: int) -> bool:
    ours = f"{socket.gethostname()}.{pid}."
    return any(worker["name"].startswith(ours) for worker in presence.workers(redis))


def _why(log: Path, told_bytes: int) -> FalqError:
    """Give the error with which a worker ended; as a program it tells it in JSON."""
    text = log.read_bytes()
    said = text[told_bytes if told_bytes <= len(text) else 0 :].decode(errors="replace")
    for line in reversed(said.splitlines()):
        if line.startswith('{"status": "FAILED"'):
            error = FalqError.from_dict(json.loads(line)["error"])
            error.message = f"the worker did not start: {error.message}"
            return error
    return UnreachableError(f"the worker did not start: see {log}", _DOCTOR)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
