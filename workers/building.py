"""The composition root of a worker process."""

from __future__ import annotations

from redis import Redis

from falq.home import ensure_home
from falq.settings import Settings
from workers.bookkeeping import Bookkeeping, check_limits_of_process
from workers.engine import Engine
from workers.job import run
from workers.rq_glue import FalqJob
from workers.saving import WorkerSaver
from workers.station import Station


def build_engine(
    settings: Settings,
    redis: Redis,
    *,
    concurrency: int,
    queues: str | None = None,
    burst: bool = False,
    idle_exit_s: float | None = None,
) -> Engine:
    """Put a worker together; nothing runs yet.

    Raises:
        ConfigurationError: The process cannot hold so many jobs.
    """
    check_limits_of_process(concurrency)
    FalqJob.allowed = {"workers.job.run": run}
    station = build_station(settings, redis)
    books = Bookkeeping(
        redis, station.admission, settings.account, queues=queues, concurrency=concurrency
    )
    return Engine(
        station=station,
        books=books,
        concurrency=concurrency,
        queues=queues,
        burst=burst,
        idle_exit_s=idle_exit_s,
    )


def build_station(settings: Settings, redis: Redis) -> Station:
    """Put together what jobs share: fal's client, the journal, the place for files."""
    settings.require_key()
    saver = WorkerSaver(settings, ensure_home(settings.home))
    return Station(settings, redis, saver, grace_s=settings.look_up_grace_s)
