"""``falq worker`` and ``falq up``: the start of a worker's life as a process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from typing import TYPE_CHECKING

import click

from falq import __version__
from falq.background import SingleInstance, find_instance
from falq.cli.call_options import JSON_ANYWAY, NumberRange, some_text
from falq.cli.show import Voice, emit
from falq.embedded import find_server, stop_server
from falq.errors import UsageError
from falq.home import ensure_home
from falq.logs import configure_logging
from falq.settings import Settings
from workers.launching import instance_name, start_background

if TYPE_CHECKING:
    from falq.admission import Admission

log = logging.getLogger("falq.worker")


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
@click.option("--idle-exit", type=NumberRange(min=1), hidden=True, help="End when idle so long.")
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
        _tell_up(settings, pid)
        Voice(quiet=quiet).say(f"worker runs in the background (pid {pid})")
        return
    home = ensure_home(settings.home)
    level = logging.WARNING if quiet else logging.INFO
    configure_logging(log_format, [settings.require_key()], level)
    if idle_exit is None:
        run_worker(settings, concurrency, queues, burst, None)
        return
    with SingleInstance(home, instance_name(settings)):
        run_worker(settings, concurrency, queues, burst, idle_exit)
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
) -> None:
    """Run a worker in this process until it ends.

    Raises:
        ConfigurationError: The server would evict jobs, or is too old.
        RedisUnavailableError: Redis cannot be reached.
    """
    from falq.redis_link import check_server, connect, redis_address, translate_redis_errors
    from workers.building import build_engine

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
        look_for_cycles_seldom()
        asyncio.run(engine.run())


def look_for_cycles_seldom() -> None:
    """Let the interpreter look for garbage in cycles a tenth as often as by default.

    The jobs in flight are objects that live; to look through a thousand of them each 700
    allocations takes a tenth of a busy worker's time.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


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


def _tell_up(settings: Settings, pid: int) -> None:
    state = find_server(settings.home) if settings.embedded else None
    emit({"status": "UP", "worker_pid": pid, "redis": "embedded" if state else "FALQ_REDIS_URL"})


@click.command()
@_CONCURRENCY
@JSON_ANYWAY
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def up(concurrency: int, quiet: bool) -> None:
    """Start the embedded Redis and a background worker."""
    settings = Settings.from_env(os.environ)
    settings.require_key()
    pid = start_background(settings, ["--concurrency", str(concurrency)])
    _tell_up(settings, pid)
    Voice(quiet=quiet).say("falq status shows what runs; falq down stops it")
