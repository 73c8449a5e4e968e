"""The composition root of a worker process."""

from __future__ import annotations

from redis import Redis

from falq.settings import Settings
from workers.bookkeeping import Bookkeeping, check_limits_of_process
from workers.disk import DiskReserve
from workers.engine import Engine
from workers.station import build_station


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
    station = build_station(settings, redis)
    books = Bookkeeping(
        redis,
        station.admission,
        station.journal,
        settings.account,
        queues=queues,
        concurrency=concurrency,
        revive=station.revive,
        empty_spool=station.empty_spool,
    )
    return Engine(
        station=station,
        books=books,
        disk=DiskReserve(settings.home),
        concurrency=concurrency,
        queues=queues,
        burst=burst,
        idle_exit_s=idle_exit_s,
    )
