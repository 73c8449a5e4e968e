"""Loads falq's Lua scripts and runs each in one round trip."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, Literal, TypeVar

from redis import Redis
from redis.exceptions import NoScriptError

from falq.exchange import Argument, Exchange

_T = TypeVar("_T")
#: Gives the text of one Lua file; tests replace one to inject a clock or a mutant.
Source = Callable[[str], str]
#: The line of a script's head that names the parts in front of it, in their order.
NEEDS = "-- Needs "
#: How long one replica may take to acknowledge writes, seconds.
WAIT_REPLICA_S = 2.0


class UnacknowledgedError(Exception):
    """No replica has a write that would be lost with the primary."""


@dataclass(frozen=True)
class ScriptCall(Generic[_T]):
    """One run of a script, to be sent alone or with others.

    Attributes:
        name: Of the script.
        args: Its arguments.
        read: Reads the reply; may raise what the reply says.
        acknowledged: A replica must have the script's writes before they count.
    """

    name: str
    args: Sequence[Argument]
    read: Callable[[Any], _T]
    acknowledged: bool = False


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
        self._exchange = Exchange(redis)
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
        (reply,) = self._exchange.send([("EVALSHA", sha, 0, *args)])
        if isinstance(reply, NoScriptError):
            (reply,) = self._exchange.send([("EVAL", text, 0, *args)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def do(self, call: ScriptCall[_T]) -> _T:
        """Make one call, and read its reply.

        Raises:
            UnacknowledgedError: No replica has what it wrote.
        """
        if not call.acknowledged:
            return call.read(self.run(call.name, call.args))
        outcome: _T | Exception = self.do_all([call])[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def do_all(self, calls: Sequence[ScriptCall[Any]]) -> list[Any]:
        """Make calls in one round trip; give what each read, or the exception it came to.

        Raises:
            RedisError: The connection was lost: any of them may have run.
        """
        outcomes = self._send(calls, "EVALSHA")
        unknown = [i for i, each in enumerate(outcomes) if isinstance(each, NoScriptError)]
        again = self._send([calls[i] for i in unknown], "EVAL") if unknown else []
        for i, outcome in zip(unknown, again, strict=True):
            outcomes[i] = outcome
        return outcomes

    def _send(
        self, calls: Sequence[ScriptCall[Any]], command: Literal["EVALSHA", "EVAL"]
    ) -> list[Any]:
        """Send calls over one connection: Redis counts acknowledgements of its writes."""
        must_wait = any(call.acknowledged for call in calls)
        commands: list[Sequence[Argument]] = [
            (command, self._script(call.name)[command == "EVAL"], 0, *call.args) for call in calls
        ]
        if must_wait:
            commands.append(("WAIT", 1, round(WAIT_REPLICA_S * 1000)))
        replies = self._exchange.send(commands)
        acknowledged = replies.pop() if must_wait else 1
        return [
            _outcome(call, reply, acknowledged) for call, reply in zip(calls, replies, strict=True)
        ]


def _outcome(call: ScriptCall[Any], reply: Any, acknowledged: Any) -> Any:
    if isinstance(reply, Exception):
        return reply
    try:
        outcome = call.read(reply)
    except Exception as error:  # noqa: BLE001  # whoever made the call gets it
        return error
    if not call.acknowledged or (acknowledged and not isinstance(acknowledged, Exception)):
        return outcome
    return UnacknowledgedError(f"no replica has what {call.name} wrote: {acknowledged}")
