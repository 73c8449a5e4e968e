"""The connection to Redis: made with our own timeouts, its errors told in falq's words.

Nothing is repeated by the client library: it cannot know whether a command whose reply
was lost may run twice. Whoever sends a command that may be repeated repeats it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from falq.errors import ConfigurationError, RedisUnavailableError
from falq.redis_url import RedisAddress, parse_redis_url

if TYPE_CHECKING:
    import redis

    from falq.settings import Settings

Role = Literal["caller", "worker"]

CONNECT_WAIT_S = 5.0
#: A worker renews leases: it must notice a silent Redis well before they run out.
REPLY_WAIT_S: dict[Role, float] = {"caller": 10.0, "worker": 5.0}
#: An idle network connection is tried with a PING before its next use; a local socket that
#: died shows it by itself.
HEALTH_CHECK_S = 30
#: Eviction would silently delete the journal of paid calls.
SAFE_POLICY = "noeviction"


def redis_address(settings: Settings) -> RedisAddress:
    """Give the address to use, starting the embedded server where none is configured.

    Raises:
        ConfigurationError: FALQ_REDIS_URL or FALQ_HOME cannot be used.
        RedisUnavailableError: The embedded server does not start.
    """
    if settings.redis_url is not None:
        return parse_redis_url(settings.redis_url)
    from falq.embedded import ensure_server

    return parse_redis_url(ensure_server(settings.home))


def connect(
    settings: Settings, *, role: Role = "caller", blocking_s: float | None = None
) -> redis.Redis:
    """Make a client with a pool of its own; the caller closes it.

    Nothing is sent yet: the first command tells whether Redis is there. Replies are bytes,
    as RQ needs them. A lost connection is an error of the command that met it; the next
    command connects anew.

    Args:
        settings: Where Redis is.
        role: Names the connection and chooses how long a reply may take.
        blocking_s: The longest that a blocking command of this client waits on the server.

    Raises:
        ConfigurationError, RedisUnavailableError: As ``redis_address``.
    """
    address = redis_address(settings)
    options = _options(address, role, blocking_s or 0.0)
    if address.behind_sentinels:
        return _through_sentinels(address, options)
    import redis

    pool = redis.ConnectionPool(**_endpoint(address), **options)
    return redis.Redis.from_pool(pool)


def _options(address: RedisAddress, role: Role, blocking_s: float) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "client_name": f"falq-{role}",
        "decode_responses": False,
        # The one that RQ is written for; with it the pool also replaces dead connections.
        "protocol": 2,
        "socket_connect_timeout": CONNECT_WAIT_S,
        "socket_timeout": REPLY_WAIT_S[role] + blocking_s,
        # Two round trips of each connection that only announce the library.
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
    }


def _unix_connection() -> type[redis.UnixDomainSocketConnection]:
    import redis

    class UnixConnection(redis.UnixDomainSocketConnection):
        #: redis-py 8.1 reads it when a connection is lost and dies of an AttributeError.
        port = 0

    return UnixConnection


def _endpoint(address: RedisAddress) -> dict[str, Any]:
    import redis

    if address.scheme == "unix":
        return {"connection_class": _unix_connection(), "path": address.path}
    (host, port) = address.nodes[0]
    endpoint = {
        "host": host,
        "port": port,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_S,
    }
    if address.tls is not None:
        endpoint |= {"connection_class": redis.SSLConnection, **address.tls}
    return endpoint


def _through_sentinels(address: RedisAddress, options: dict[str, Any]) -> redis.Redis:
    import redis.sentinel

    sentinels: Any = redis.sentinel.Sentinel
    kept = ("socket_connect_timeout", "socket_timeout", "retry", "protocol", "driver_info")
    login = {
        "username": address.arguments.get("sentinel_username"),
        "password": address.arguments.get("sentinel_password"),
    }
    tls = {} if address.tls is None else {"ssl": True, **address.tls}
    asking = {name: options[name] for name in kept} | login | tls
    sentinel = sentinels(list(address.nodes), sentinel_kwargs=asking)
    master: redis.Redis = sentinel.master_for(
        address.service,
        socket_keepalive=True,
        health_check_interval=HEALTH_CHECK_S,
        **tls,
        **options,
    )
    return master


@contextmanager
def translate_redis_errors() -> Iterator[None]:
    """Turn what the client library raises inside into ``RedisUnavailableError``.

    Lost watches and unknown scripts pass: they are answers that the code around expects.
    Usable as a decorator of plain functions too, not of async ones.
    """
    import redis

    try:
        yield
    except (redis.WatchError, redis.exceptions.NoScriptError):
        raise
    except redis.RedisError as err:
        raise redis_error(err) from err


@dataclass(frozen=True)
class _Fault:
    message: str
    hint: str
    retryable: bool = True


_RIGHTS = _Fault(
    "Redis refuses us: we are without rights there",
    "check user and password in FALQ_REDIS_URL, and the rights of that user (ACL)",
    retryable=False,
)
_FULL = _Fault(
    "Redis is full: it takes no more jobs until some have ended",
    "raise its maxmemory, or wait for running jobs",
)
_DISK = _Fault(
    "Redis cannot write to its disk and takes nothing", "free some space on the disk of Redis"
)
_LOADING = _Fault("Redis is still loading its data", "try again in a few seconds")
_READ_ONLY = _Fault(
    "Redis is a read-only replica", "point FALQ_REDIS_URL to the primary, or use redis+sentinel://"
)
_NO_REPLICA = _Fault("Redis has too few replicas to take writes", "check its replicas")
_CLIENTS = _Fault("Redis has no connection left for us", "raise its maxclients or end some workers")
_BUSY = _Fault("Redis is busy with a script", "try again in a few seconds")
_NO_PRIMARY = _Fault("the sentinels know no primary", "check the service name and the sentinels")
_SILENT = _Fault("Redis did not answer in time", "check FALQ_REDIS_URL, the network and its load")
_GONE = _Fault("Redis cannot be reached", "check FALQ_REDIS_URL and whether it runs: falq doctor")
_NO_REDIS = _Fault(
    "what answers at that address is no Redis",
    "check host and port in FALQ_REDIS_URL",
    retryable=False,
)

#: The client library's classes by name, those that say more first.
_BY_CLASS = {
    "AuthenticationError": _RIGHTS,
    "AuthenticationWrongNumberOfArgsError": _RIGHTS,
    "AuthorizationError": _RIGHTS,
    "NoPermissionError": _RIGHTS,
    "OutOfMemoryError": _FULL,
    "BusyLoadingError": _LOADING,
    "ReadOnlyError": _READ_ONLY,
    "MaxConnectionsError": _CLIENTS,
    "MasterNotFoundError": _NO_PRIMARY,
    "InvalidResponse": _NO_REDIS,
    "TimeoutError": _SILENT,
    "ConnectionError": _GONE,
}
#: The server's own codes, met where the library does not read them.
_BY_CODE = {
    "NOAUTH": _RIGHTS,
    "WRONGPASS": _RIGHTS,
    "NOPERM": _RIGHTS,
    "OOM": _FULL,
    "MISCONF": _DISK,
    "LOADING": _LOADING,
    "READONLY": _READ_ONLY,
    "NOREPLICAS": _NO_REPLICA,
    "MASTERDOWN": _NO_PRIMARY,
    "BUSY": _BUSY,
    "max": _CLIENTS,
}
#: How the server begins when its user may not do what a script does.
_RIGHTS_IN_SCRIPT = "ACL failure in script"
#: The server's mark on an error that stopped a script in the middle.
_IN_SCRIPT = "@user_script"
_COMMAND = re.compile(r"no permissions to run the '([\w|-]{1,40})' command")
#: The library puts commands with their arguments in front of a pipeline's error.
_PIPELINE = "caused error: "
#: The server puts arguments behind the name of a command that it does not know.
_ARGUMENTS = ", with args"
MAX_SAID_CHARS = 160


def redis_error(err: Exception) -> RedisUnavailableError:
    """Tell an error of the client library in one clear line, without arguments of commands."""
    said = str(err).rpartition(_PIPELINE)[2].partition(_ARGUMENTS)[0]
    fault = _find_fault(err, said)
    if fault is None:
        text = f"Redis refused a command: {said[:MAX_SAID_CHARS]}"
        hint = "falq doctor shows its version and settings"
        return _told(RedisUnavailableError(text, hint, retryable=False), err)
    command = _COMMAND.search(said)
    detail = f" (the command {command.group(1)})" if command else _cause(fault, said)
    error = RedisUnavailableError(f"{fault.message}{detail}", fault.hint, retryable=fault.retryable)
    return _told(error, err)


def _told(error: RedisUnavailableError, err: Exception) -> RedisUnavailableError:
    """Note whether Redis itself refused; a lost connection leaves open what happened.

    So does a script that fails half-way: what it wrote before stays written.
    """
    import redis

    lost = isinstance(err, redis.ConnectionError | redis.TimeoutError)
    known = not lost or isinstance(err, redis.BusyLoadingError | redis.AuthenticationError)
    error.refused = known and _IN_SCRIPT not in str(err)
    return error


def _find_fault(err: Exception, said: str) -> _Fault | None:
    if said.removeprefix("ERR ").startswith(_RIGHTS_IN_SCRIPT):
        return _RIGHTS
    by_code = _BY_CODE.get(said.removeprefix("ERR ").partition(" ")[0])
    if by_code is not None:
        return by_code
    names = (kind.__name__ for kind in type(err).__mro__)
    return next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)


def _cause(fault: _Fault, said: str) -> str:
    """Give the system's own words for a connection that failed; they hold no password."""
    return f": {said[:MAX_SAID_CHARS].rstrip('.')}" if fault is _GONE and said else ""


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """What a server says about itself; None where our rights do not let us ask."""

    version: str | None
    is_valkey: bool | None
    maxmemory_policy: str | None
    aof: bool | None
    appendfsync: str | None
    replicas: int | None
    clock_difference_s: float | None

    @property
    def forgets(self) -> bool:
        """Whether nothing but the server's memory is known to hold the journal."""
        return self.aof is False and not self.replicas

    def require_no_eviction(self) -> None:
        """Refuse a server that may throw jobs away; for workers, before they take one.

        Raises:
            ConfigurationError: Its policy is known and is not ``noeviction``.
        """
        if self.maxmemory_policy not in (None, SAFE_POLICY):
            raise ConfigurationError(
                f"Redis has maxmemory-policy {self.maxmemory_policy!r}: expected {SAFE_POLICY!r}, "
                "as anything else deletes jobs and what was paid for them",
                f"CONFIG SET maxmemory-policy {SAFE_POLICY}, and in its configuration file",
            )


def try_writes(client: redis.Redis) -> None:
    """Write a few keys of falq's and RQ's kinds and remove them within the same script.

    Raises:
        RedisUnavailableError: The server takes no writes, or not from us; says which.
    """
    from falq.scripts import Scripts

    with translate_redis_errors():
        Scripts(client).run("probe", [""])


def count_replicas(client: redis.Redis) -> int:
    """Count the connected replicas; 0 where we may not ask."""
    info = _allowed(client, "INFO", "replication") or {}
    return int(info.get("connected_slaves", 0))


def check_server(client: redis.Redis, *, config: bool = False) -> ServerFacts:
    """Ask the server about itself; what an ACL forbids is None.

    ``clock_difference_s`` is the server's clock minus ours, good to half a round trip.

    Args:
        client: Bytes replies.
        config: Ask for ``appendfsync``, too, which needs a right that tells passwords as well.

    Raises:
        RedisUnavailableError: It cannot be reached, or does not let us in.
    """
    with translate_redis_errors():
        client.ping()
        info = _allowed(client, "INFO") or {}
        hello = _hello(client)
        version = info.get("valkey_version") or info.get("redis_version") or hello.get("version")
        server = info.get("server_name") or hello.get("server")
        aof = info.get("aof_enabled")
        return ServerFacts(
            version=version,
            is_valkey=None if server is None and not info else server == "valkey",
            maxmemory_policy=info.get("maxmemory_policy"),
            aof=None if aof is None else bool(aof),
            appendfsync=_appendfsync(client) if config else None,
            replicas=info.get("connected_slaves"),
            clock_difference_s=_clock_difference_s(client),
        )


def _appendfsync(client: redis.Redis) -> str | None:
    found: dict[str, str] = _allowed(client, "CONFIG GET", "appendfsync") or {}
    return found.get("appendfsync")


def _allowed(client: Any, *command: str) -> Any:
    import redis

    try:
        return client.execute_command(*command)
    except redis.ResponseError:
        return None


def _hello(client: redis.Redis) -> dict[str, str]:
    """Read the reply of HELLO, which an ACL hardly ever forbids."""
    reply = _allowed(client, "HELLO")
    if not isinstance(reply, list):
        return {}
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in reply]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _clock_difference_s(client: redis.Redis) -> float | None:
    asked_at = time.time()
    reply = _allowed(client, "TIME")
    if reply is None:
        return None
    seconds, microseconds = reply
    return float(seconds + microseconds / 1e6) - (asked_at + time.time()) / 2
