"""Loads falq's Lua scripts and runs each in one round trip."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

Argument = str | bytes | int | float
#: Gives the text of one Lua file; tests replace one to inject a clock or a mutant.
Source = Callable[[str], str]
#: The line of a script's head that names the parts in front of it, in their order.
NEEDS = "-- Needs "


@cache
def packaged(name: str) -> str:
    """Read one of the package's Lua files."""
    return files("falq").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def compose(name: str, source: Source = packaged) -> str:
    """Put a script together: its own shebang, the clock, the parts that it names, itself."""
    shebang, _, body = source(name).partition("\n")
    needs = next(line for line in body.splitlines() if line.startswith(NEEDS))
    parts = ["clock", *needs.removeprefix(NEEDS).split()]
    return "\n".join((shebang, *(source(part) for part in parts), body))


class Scripts:
    """The scripts of one Redis.

    Args:
        redis: Bytes replies.
        source: Where the Lua text comes from.
    """

    def __init__(self, redis: Redis, source: Source = packaged) -> None:
        self._redis = redis
        self._source = source
        self._known: dict[str, tuple[str, str]] = {}

    def _script(self, name: str) -> tuple[str, str]:
        if name not in self._known:
            text = compose(name, self._source)
            # Redis names a script by this hash; nothing is secured by it.
            sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            self._known[name] = (sha, text)
        return self._known[name]

    def run(self, name: str, args: Sequence[Argument]) -> Any:
        """Run a script; it is loaded where the server does not have it (any more)."""
        sha, text = self._script(name)
        try:
            return self._redis.evalsha(sha, 0, *args)
        except NoScriptError:
            return self._redis.eval(text, 0, *args)

    def run_acknowledged(
        self, name: str, args: Sequence[Argument], wait_s: float
    ) -> tuple[Any, int]:
        """Run a script, and tell how many replicas have its writes after ``wait_s`` at most.

        Both go over one connection: Redis counts acknowledgements of a connection's writes.
        """
        sha, text = self._script(name)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.evalsha(sha, 0, *args)
            pipe.wait(1, round(wait_s * 1000))
            said, acknowledged = pipe.execute(raise_on_error=False)
            if isinstance(said, NoScriptError):
                pipe.eval(text, 0, *args)
                pipe.wait(1, round(wait_s * 1000))
                said, acknowledged = pipe.execute(raise_on_error=False)
        for reply in (said, acknowledged):
            if isinstance(reply, Exception):
                raise reply
        return said, int(acknowledged)
