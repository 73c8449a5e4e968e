"""Which workers are there; hints with an expiry, never a promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis

from falq import __version__, keys

#: A worker says every few seconds that it is there; silent so long, it counts as gone.
ALIVE_S = 12


def announce(redis: Redis, account: str, worker: str, facts: Mapping[str, Any]) -> None:
    """Say that a worker serves an account; ``facts`` are shown to whoever asks."""
    host = worker.split(".", 1)[0]
    known = {"account": account, "host": host, "version": __version__} | dict(facts)
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(keys.alive(account), worker, ex=ALIVE_S)
        for name, value in known.items():
            pipe.hset(keys.worker(worker), name, str(value))
        pipe.expire(keys.worker(worker), ALIVE_S)
        pipe.execute()


def leave(redis: Redis, account: str, worker: str) -> None:
    """Take the word back; other workers repeat theirs soon."""
    redis.delete(keys.worker(worker))
    if redis.get(keys.alive(account)) == worker.encode():
        redis.delete(keys.alive(account))


def is_served(redis: Redis, account: str) -> bool:
    """Tell whether a worker has lately served an account; '' asks for any worker at all."""
    if account:
        return bool(redis.exists(keys.alive(account)))
    return bool(workers(redis))


def workers(redis: Redis) -> list[dict[str, str]]:
    """List the workers that are there, each with name, account, host, version and capacity."""
    names: list[Any] = sorted(redis.scan_iter(keys.worker("*"), count=1000))
    found = [(name.decode(), redis.hgetall(name)) for name in names]
    return [
        {"name": name.removeprefix(keys.worker(""))}
        | {k.decode(): v.decode() for k, v in dict(facts).items()}
        for name, facts in found
        if facts
    ]
