"""Which workers are there; hints with an expiry, never a promise."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from redis import Redis

from falq import __version__, keys

#: A worker says every few seconds that it is there; silent so long, it counts as gone.
ALIVE_S = 12
#: Machines' clocks may differ; who was silent so long is on nobody's list any more, seconds.
FORGOTTEN_S = 86_400


def announce(redis: Redis, account: str, worker: str, facts: Mapping[str, Any]) -> None:
    """Say that a worker serves an account; ``facts`` are shown to whoever asks."""
    host = worker.split(".", 1)[0]
    known = {"account": account, "host": host, "version": __version__} | dict(facts)
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(keys.alive(account), worker, ex=ALIVE_S)
        for name, value in known.items():
            pipe.hset(keys.worker(worker), name, str(value))
        pipe.expire(keys.worker(worker), ALIVE_S)
        pipe.zadd(keys.WORKERS, {worker: time.time()})
        pipe.zremrangebyscore(keys.WORKERS, "-inf", time.time() - FORGOTTEN_S)
        pipe.execute()


def leave(redis: Redis, account: str, worker: str) -> None:
    """Take the word back; other workers repeat theirs soon."""
    redis.delete(keys.worker(worker))
    redis.zrem(keys.WORKERS, worker)
    if redis.get(keys.alive(account)) == worker.encode():
        redis.delete(keys.alive(account))


def is_served(redis: Redis, account: str) -> bool:
    """Tell whether a worker has lately served an account; '' asks for any worker at all."""
    if account:
        return bool(redis.exists(keys.alive(account)))
    return bool(workers(redis))


def workers(redis: Redis) -> list[dict[str, str]]:
    """List the workers that are there, each with name, account, host, version and capacity."""
    names: Any = redis.zrange(keys.WORKERS, 0, -1)
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hgetall(keys.worker(name.decode()))
        found = pipe.execute()
    listed = [
        {"name": name.decode()} | {k.decode(): v.decode() for k, v in facts.items()}
        for name, facts in zip(names, found, strict=True)
        if facts
    ]
    return sorted(listed, key=lambda worker: worker["name"])


def lives_here(worker: str) -> bool:
    """Tell whether a worker lives, by host and pid in its name; one of another host may.

    >>> lives_here("some-other-host.1.abc"), lives_here("")
    (True, False)
    """
    host, _, rest = worker.rpartition(".")[0].rpartition(".")
    if not worker or (host and host != socket.gethostname()):
        return bool(worker)
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True
