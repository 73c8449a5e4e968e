"""``falq worker`` and ``falq up``: the start of a worker's life as a process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from falq import __version__
from falq.background import SingleInstance, find_instance, spawn_detached
from falq.cli.call_options import some_text
from falq.cli.show import Voice, emit
from falq.embedded import ensure_server, find_server, stop_server
from falq.errors import UnreachableError, UsageError
from falq.home import ensure_home, log_directory
from falq.settings import Settings

if TYPE_CHECKING:
    from falq.admission import Admission

log = logging.getLogger("falq.worker")

#: A worker that falq started by itself ends after so long without a job, seconds.
IDLE_EXIT_S = 15 * 60.0
#: A background worker is up within this time, or something is wrong with it, seconds.
START_S = 15.0

_CONCURRENCY = click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=1000, show_default=True, metavar="N",
    help="Jobs at once in this process.",
)  # fmt: skip


@click.command()
@click.option("--background", is_flag=True, help="Run as a daemon, one per FALQ_HOME.")
@_CONCURRENCY
@click.option(
    "--queues",
    type=some_text("--queues", "a pattern such as 'flux*'"),
    metavar="PATTERN",
    help="Serve only queues that match, such as 'flux*'.",
)
@click.option("--burst", is_flag=True, help="End when nothing waits.")
@click.option(
    "--idle-exit", type=click.FloatRange(min=1), hidden=True, help="End when idle so long."
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def worker(
    background: bool,
    concurrency: int,
    queues: str | None,
    burst: bool,
    idle_exit: float | None,
    log_format: str,
    quiet: bool,
) -> None:
    """Run a worker: it does the jobs of the queues, many at once."""
    settings = Settings.from_env(os.environ)
    settings.require_key()
    if background:
        if burst:
            raise UsageError("--background and --burst exclude each other")
        pid = start_background(settings, _flags(concurrency, queues, log_format))
        Voice(quiet=quiet).say(f"worker runs in the background (pid {pid})")
        return
    home = ensure_home(settings.home)
    if idle_exit is None:
        run_worker(settings, concurrency, queues, burst, None, log_format)
        return
    with SingleInstance(home, instance_name(settings)):
        run_worker(settings, concurrency, queues, burst, idle_exit, log_format)
    if settings.embedded and find_instance(home, instance_name(settings)) is None:
        stop_server(home, only_if_unused=True)


def _flags(concurrency: int, queues: str | None, log_format: str) -> list[str]:
    flags = ["--concurrency", str(concurrency), "--log-format", log_format]
    return flags + (["--queues", queues] if queues else [])


def run_worker(
    settings: Settings,
    concurrency: int,
    queues: str | None,
    burst: bool,
    idle_exit_s: float | None,
    log_format: str,
) -> None:
    """Run a worker in this process until it ends.

    Raises:
        ConfigurationError: The server would evict jobs, or is too old.
        RedisUnavailableError: Redis cannot be reached.
    """
    from falq.logs import configure_logging
    from falq.redis_link import check_server, connect, redis_address, translate_redis_errors
    from workers.building import build_engine

    configure_logging(log_format, [settings.require_key()])
    redis = connect(settings, role="worker")
    with translate_redis_errors():
        facts = check_server(redis)
        facts.require_no_eviction()
    engine = build_engine(
        settings, redis, concurrency=concurrency, queues=queues, burst=burst,
        idle_exit_s=idle_exit_s,
    )  # fmt: skip
    log.info(
        "worker %s begins: falq %s, Redis at %s, account %s, up to %d jobs at once",
        engine.books.name, __version__, redis_address(settings), settings.account, concurrency,
    )  # fmt: skip
    if facts.forgets:
        log.warning(
            "redis has neither an append-only file nor a replica: if it falls, what was paid "
            "for is forgotten; CONFIG SET appendonly yes"
        )
    with translate_redis_errors():
        set_account_cap(engine.station.admission, settings)
        asyncio.run(engine.run())


def set_account_cap(admission: Admission, settings: Settings) -> None:
    """Put the account's cap in force, or lift it; a worker without an opinion leaves it."""
    if settings.account_max_concurrent is not None or settings.account_uncapped:
        admission.configure_account(settings.account_max_concurrent)
        return
    cap = admission.snapshot([])[0].max_concurrent
    if cap is not None:
        log.info(
            "the account is capped to %d jobs at once by somebody else's "
            "FALQ_ACCOUNT_MAX_CONCURRENT; 'none' lifts the cap", cap,
        )  # fmt: skip


def instance_name(settings: Settings) -> str:
    """Name the one background worker of a home; another account has its own."""
    return f"worker-{settings.account}"


def start_background(settings: Settings, flags: list[str] | None = None) -> int:
    """Start the background worker of this home unless it runs; give its pid.

    Raises:
        UnreachableError: It did not come up; the log tells why.
    """
    home = ensure_home(settings.home)
    name = instance_name(settings)
    running = find_instance(home, name)
    if running is not None:
        return running
    if settings.embedded:
        ensure_server(home)
    log = log_directory(home) / f"{name}.log"
    argv = [sys.executable, "-m", "falq", "worker", "--idle-exit", str(IDLE_EXIT_S)]
    env = dict(os.environ) | {"FALQ_HOME": str(home)}
    started = spawn_detached([*argv, *(flags or [])], log, env)
    give_up_at = time.monotonic() + START_S
    while time.monotonic() < give_up_at and _lives(started):
        pid = find_instance(home, name)
        if pid is not None:
            return pid
        time.sleep(0.01)
    raise UnreachableError(f"the worker did not start: see {log}", "falq doctor tells more")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


@click.command()
@_CONCURRENCY
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def up(concurrency: int, quiet: bool) -> None:
    """Start the embedded Redis and a background worker."""
    settings = Settings.from_env(os.environ)
    settings.require_key()
    pid = start_background(settings, ["--concurrency", str(concurrency)])
    state = find_server(settings.home) if settings.embedded else None
    emit({"status": "UP", "worker_pid": pid, "redis": "embedded" if state else "FALQ_REDIS_URL"})
    Voice(quiet=quiet).say("falq status shows what runs; falq down stops it")
