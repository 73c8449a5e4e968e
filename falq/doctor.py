"""Looks at everything that falq needs: key, Redis, workers, clock, disk.

No server is started and no money is spent: the key is checked by a request that fal refuses
for free (fal-api.md §1). Nothing is changed but for a few keys that one script writes to
Redis and removes again, to see that it takes them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from falq import __version__, keys, presence
from falq.errors import FalqError
from falq.findings import (
    Finding,
    about_clock,
    about_disk,
    about_eviction,
    about_persistence,
    about_unknown,
    about_version,
    about_workers,
    note,
    ok,
    trouble,
)
from falq.home import ensure_home
from falq.overview import find_redis
from falq.redis_link import check_server, redis_address, translate_redis_errors, try_writes
from falq.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

#: What to do where an error does not say it, by what was looked at.
_ADVICE = {
    "settings": "correct that variable, or unset it: docs/reference.md lists all of them",
    "key": "check the network (falq uses no proxy) and FALQ_FAL_URL; calls fail until fal answers",
    "Redis": "see whether it runs and what its log says; check FALQ_REDIS_URL and FALQ_HOME",
    "writes": "falq needs a Redis that takes its writes: see that server's log and its ACL",
}


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything; what is in the way of a later look is the last finding of it."""
    findings = [ok("falq", f"{__version__}, Python {platform.python_version()}")]
    try:
        settings = Settings.from_env(environ)
    except FalqError as error:
        return [*findings, _trouble("settings", error)]
    findings += _safely("home", lambda: _home(settings))
    findings += _safely("key", lambda: _key(settings))
    findings += _safely("Redis", lambda: _redis(settings))
    return findings


def _trouble(name: str, error: FalqError) -> Finding:
    # Errors send people here; what they are told here is something else.
    hint = "" if "falq doctor tells" in error.hint else error.hint.removesuffix(": falq doctor")
    return trouble(name, error.message, hint or _ADVICE.get(name, ""), error.exit_code)


def _safely(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except FalqError as error:
        yield _trouble(name, error)


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    there = _nearest(home)
    if os.path.lexists(home):
        yield ok("home", f"{ensure_home(home)}, private to this user")
    elif there.is_dir() and shutil.disk_usage(there).total and os.access(there, os.W_OK):
        yield ok("home", f"{home}, made by the first call")
    else:
        advice = "set FALQ_HOME to a directory that you may write to"
        yield trouble("home", f"{home} cannot be made: {there} takes no files", advice, 2)
        return
    yield about_disk("disk", str(home), _free_bytes(home))
    output = Path.cwd()
    yield about_disk("disk here", str(output), _free_bytes(output))
    if not os.access(output, os.W_OK):
        yield note("output", f"{output} is not writable", "give calls an --output elsewhere")


def _nearest(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(_nearest(path)).free


def _key(settings: Settings) -> Iterator[Finding]:
    if settings.key is None:
        yield _no_key(embedded=settings.embedded)
        return
    where = f"the sandbox at {settings.fal_url}" if settings.sandbox else "fal"
    yield _judged(asyncio.run(_ask(settings)), where, settings.account)


def _no_key(*, embedded: bool) -> Finding:
    get_one = "export FAL_KEY=...  (keys: https://fal.ai/dashboard/keys)"
    if embedded:
        return trouble("key", "FAL_KEY is not set", get_one, 4)
    advice = f"callers on a shared Redis need none; a worker and uploads do: {get_one}"
    return note("key", "FAL_KEY is not set", advice)


async def _ask(settings: Settings) -> str:
    from falq.fal.client import FalClient

    async with FalClient(settings.hosts, settings.key) as client:
        return (await client.check_key()).value


def _judged(state: str, where: str, account: str) -> Finding:
    if state == "valid":
        return ok("key", f"{where} accepts it (account {account}; the balance does not show)")
    if state == "locked":
        advice = "top up at https://fal.ai/dashboard/billing"
        return trouble("key", f"{where} knows it, but the account is locked", advice, 4)
    advice = "check FAL_KEY: it has the form key_id:key_secret"
    return trouble("key", f"{where} does not accept it", advice, 4)


def _redis(settings: Settings) -> Iterator[Finding]:
    redis = find_redis(settings)
    if redis is None:
        yield from _no_server(settings)
        return
    with redis, translate_redis_errors():
        yield from _server(redis, settings)
        yield from _safely("writes", lambda: _writes(redis))
        yield about_workers(
            presence.workers(redis), settings.account, __version__, embedded=settings.embedded
        )
        yield about_unknown(int(redis.scard(keys.UNKNOWN)))


def _writes(redis: Redis) -> Iterator[Finding]:
    try_writes(redis)
    yield ok("writes", "Redis takes them from this user, and runs falq's scripts")


def _no_server(settings: Settings) -> Iterator[Finding]:
    from falq.embedded import find_program

    binary = find_program(settings.home)
    yield ok("Redis", f"embedded, not running; a call starts it ({binary} at {binary.path})")


def _server(redis: Redis, settings: Settings) -> Iterator[Finding]:
    facts = check_server(redis, config=True)
    if settings.embedded:
        from falq.embedded import find_server

        state = find_server(settings.home)
        yield ok("Redis", f"embedded, pid {state.pid}, {state.socket}" if state else "embedded")
    else:
        yield ok("Redis", f"answers at {redis_address(settings)}")
    yield about_version("valkey" if facts.is_valkey else "redis", facts.version)
    yield about_persistence(facts.aof, facts.appendfsync, facts.replicas)
    yield about_eviction(facts.maxmemory_policy)
    yield about_clock(facts.clock_difference_s)
    if facts.replicas:
        yield ok("replicas", str(facts.replicas))


def as_dict(findings: list[Finding]) -> list[dict[str, object]]:
    """Give findings as JSON."""
    return [dataclasses.asdict(each) for each in findings]
