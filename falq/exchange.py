"""Sends commands to Redis and reads their replies, without the client library's detours.

For each command the library takes a connection out of its pool and puts it back, with two
locks, and wraps it up for retries and metrics: that costs as much as Redis needs to admit a
job. Here connections are taken from the same pool and kept for the next commands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from redis import Connection, ConnectionPool, Redis
from redis.exceptions import RedisError, ResponseError

Argument = str | bytes | int | float

#: A connection that has answered within so many seconds is taken to be alive: to look costs as
#: much as to send, and one may break right after a look, too.
SURE_S = 0.2

#: Connections that nobody uses at the moment, and when each has answered; their pool closes
#: them with its others.
_kept: WeakKeyDictionary[ConnectionPool, list[tuple[Any, float]]] = WeakKeyDictionary()


def _forget_all() -> None:
    for kept in _kept.values():
        kept.clear()


# A child that wrote to its parent's connections would take replies away from it.
os.register_at_fork(after_in_child=_forget_all)


class Exchange:
    """Exchanges commands for replies, over the connections of one client.

    Safe to use from several threads, and after a fork.

    Args:
        redis: Its pool makes the connections.
    """

    def __init__(self, redis: Redis) -> None:
        self._pool: ConnectionPool = redis.connection_pool
        self._kept = _kept.setdefault(self._pool, [])

    def send(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands in one go; give the reply of each, or the error that Redis answered.

        Nothing is repeated.

        Raises:
            RedisError: The connection was lost: any of the commands may have run.
        """
        if not commands:
            return []
        connection = self._take_connection()
        packed: list[bytes] = []
        replies: list[Any] = []
        try:
            for command in commands:
                packed += connection.pack_command(*command)
            connection.send_packed_command([b"".join(packed)])
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except ResponseError as error:
                    replies.append(error)
        except BaseException:
            # A reply that nobody has read would be taken for that of the next command.
            connection.disconnect()
            self._pool.release(connection)
            raise
        self._kept.append((connection, time.monotonic()))
        return replies

    def send_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands in one go; give their replies.

        Raises:
            RedisError: As ``send``, or the first error that Redis answered.
        """
        replies = self.send(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def hashes(self, names: Sequence[str]) -> list[dict[bytes, bytes]]:
        """Read hashes in one round trip; one that is not there is empty.

        Raises:
            RedisError: As ``send_all``.
        """
        found = self.send_all([("HGETALL", name) for name in names])
        # Depends on the version of the protocol.
        return [each if isinstance(each, dict) else _paired(each) for each in found]

    def _take_connection(self) -> Any:
        while self._kept:
            try:
                connection, answered_at = self._kept.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - answered_at < SURE_S or self._is_usable(connection):
                return connection
            connection.disconnect()
            self._pool.release(connection)
        return self._pool.get_connection()

    def _is_usable(self, connection: Connection) -> bool:
        try:
            return bool(self._pool.owns_connection(connection)) and not connection.can_read()
        except (RedisError, OSError):
            return False


def _paired(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    each = iter(flat)
    return dict(zip(each, each, strict=True))
