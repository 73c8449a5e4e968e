"""``falq down``: ends the background workers of a home and its server, never a paid job's holder.

A worker in the foreground, another account's or RQ's own may hold jobs in the same server.
Those are not ours to end, and a server that stops under them leaves what they paid for to
nobody: so it is not stopped while they hold a job.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import click

from falq.background import find_instance
from falq.cli.call_options import JSON_ANYWAY
from falq.cli.show import Voice, emit
from falq.embedded import stop_server
from falq.errors import UnreachableError
from falq.home import ensure_home
from falq.overview import look_around
from falq.presence import lives_here
from falq.settings import Settings

#: Jobs that run get this long to finish when ``falq down`` stops the worker, seconds.
STOP_S = 660.0


@click.command()
@click.option("--now", is_flag=True, help="Leave running jobs to other workers or a later start.")
@JSON_ANYWAY
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def down(now: bool, quiet: bool) -> None:
    """Stop the background workers of this home and the embedded Redis, warm."""
    settings = Settings.from_env(os.environ)
    voice = Voice(quiet=quiet)
    home = ensure_home(settings.home)
    running = background_workers(home)
    if not now:
        _refuse_to_abandon(settings, running.values())
    stop_workers(home, running, voice, now=now)
    if not now:
        _refuse_to_abandon(settings, ())
    server = settings.embedded and stop_server(home)
    emit({"status": "DOWN", "workers_stopped": len(running), "redis_stopped": bool(server)})


def background_workers(home: Path) -> dict[str, int]:
    """Find the background workers of a home: their pids by name."""
    names = [path.stem for path in (home / "run").glob("worker-*.lock")]
    return {name: pid for name in names if (pid := find_instance(home, name)) is not None}


def stop_workers(home: Path, pids: Mapping[str, int], voice: Voice, *, now: bool) -> None:
    """Tell background workers to end and wait until they have.

    Raises:
        UnreachableError: One still runs jobs after ``STOP_S``.
    """
    for pid in pids.values():
        os.kill(pid, signal.SIGTERM)
        if now:
            time.sleep(0.2)
            os.kill(pid, signal.SIGTERM)
    told = False
    give_up_at = time.monotonic() + STOP_S
    while any(find_instance(home, name) == pid for name, pid in pids.items()):
        if not told and time.monotonic() > give_up_at - STOP_S + 1:
            told = True
            voice.say("waiting for running jobs to finish (falq down --now leaves them)")
        if time.monotonic() > give_up_at:
            raise UnreachableError("a worker still runs jobs", "falq down --now leaves them")
        time.sleep(0.02)


def _refuse_to_abandon(settings: Settings, ours: Collection[int]) -> None:
    """Refuse to stop the embedded server under a worker that holds jobs.

    Raises:
        UnreachableError: Somebody beside ``ours`` holds jobs there.
    """
    holders = holders_beside(settings, ours) if settings.embedded else {}
    if not holders:
        return
    worker, jobs = next(iter(holders.items()))
    what = "1 job" if jobs == 1 else f"{jobs} jobs"
    raise UnreachableError(
        f"a worker (pid {_pid(worker) or '?'}, {worker}) still holds {what}: "
        "the embedded Redis is not stopped under it",
        "end that worker first (SIGTERM, and it finishes them); falq down --now stops anyway",
    )


def holders_beside(settings: Settings, ours: Collection[int]) -> dict[str, int]:
    """Count the jobs of each living worker that holds some and is none of ``ours``, by name."""
    held = Counter(job.worker for job in look_around(settings).jobs)
    return {
        worker: jobs
        for worker, jobs in held.items()
        if worker and _pid(worker) not in ours and lives_here(worker)
    }


def _pid(worker: str) -> int | None:
    """Read the pid in a worker's name; RQ's own workers have none there."""
    part = worker.rpartition(".")[0].rpartition(".")[2]
    return int(part) if part.isdecimal() else None
