"""Addresses of Redis: ``redis://``, ``rediss://``, ``unix://``, ``redis[s]+sentinel://``.

    redis://user:password@host:6379/0      rediss://… the same over TLS
    unix:///path/to/redis.sock?db=0        redis+sentinel://host1:26379,host2:26379/service/0

Behind sentinels, ``rediss+sentinel://`` or any ``ssl_…`` argument means TLS to all of them:
sentinels, primary and replicas.

An address may hold a password, and a mistyped one may hold it anywhere, so no message
quotes an address or a part of it before all of it is understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from falq.errors import ConfigurationError
from falq.settings import REDIS_SCHEMES, is_loopback

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
#: Timeouts, decoding and the protocol are falq's own business: an address may not change them.
TLS_ARGUMENTS = frozenset(
    ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
)
_SENTINEL_ARGUMENTS = TLS_ARGUMENTS | {"db", "sentinel_username", "sentinel_password"}
_ARGUMENTS = {
    "redis": frozenset(("db",)),
    "rediss": TLS_ARGUMENTS | {"db"},
    "unix": frozenset(("db", "username", "password")),
    "redis+sentinel": _SENTINEL_ARGUMENTS,
    "rediss+sentinel": _SENTINEL_ARGUMENTS,
}


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """Where a Redis is and how to log in; neither its repr nor its text shows a password."""

    scheme: str
    nodes: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    arguments: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return self.path
        nodes = ",".join(f"{host}:{port}" for host, port in self.nodes)
        return f"{nodes}/{self.service}" if self.service else nodes

    @property
    def behind_sentinels(self) -> bool:
        """Whether the nodes are sentinels, to be asked for the primary."""
        return bool(self.service)

    @property
    def tls(self) -> Mapping[str, str] | None:
        """The arguments of TLS; None: the connection is in clear text."""
        found = {name: v for name, v in self.arguments.items() if name in TLS_ARGUMENTS}
        return found if found or self.scheme.startswith("rediss") else None

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return all(is_loopback(host) for host, _ in self.nodes)

    @property
    def proves_identity(self) -> bool:
        """Whether we log in at all: with a password or with a certificate."""
        return bool(self.password) or "ssl_certfile" in self.arguments


def parse_redis_url(url: str) -> RedisAddress:
    """Understand an address wholly or refuse it.

    >>> str(parse_redis_url("redis://jane:secret@db.example.com/2"))
    'db.example.com:6379'

    Raises:
        ConfigurationError: It is malformed, or names a server on another machine without
            a password: whoever reaches that server could spend the workers' money.
    """
    try:
        address = _parse(url)
    except ValueError as err:
        raise ConfigurationError(
            f"FALQ_REDIS_URL cannot be understood: {err}",
            "a password with special characters must be percent-encoded",
        ) from None
    if not address.is_local and not address.proves_identity:
        raise ConfigurationError(
            f"FALQ_REDIS_URL names {address}, another machine, without a password",
            "protect that Redis with a password and use rediss://user:password@host:port",
        )
    return address


class _MalformedError(ValueError):
    """Says which part is wrong without quoting it; those of urllib quote."""


def _parse(url: str) -> RedisAddress:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _MalformedError("expected scheme://host:port/db") from None
    if parts.scheme not in REDIS_SCHEMES:
        expected = ", ".join(f"{scheme}://" for scheme in REDIS_SCHEMES)
        raise _MalformedError(f"expected one of {expected}")
    if parts.fragment:
        raise _MalformedError("it contains a '#'")
    arguments = _arguments(parts)
    if parts.scheme == "unix":
        return _unix(parts, arguments)
    return _network(parts, arguments)


def _arguments(parts: SplitResult) -> dict[str, str]:
    arguments = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = _ARGUMENTS[parts.scheme]
    if arguments.keys() - allowed:
        raise _MalformedError(
            f"after the '?' {parts.scheme}:// takes only {', '.join(sorted(allowed))}"
        )
    return arguments


def _unix(parts: SplitResult, arguments: dict[str, str]) -> RedisAddress:
    if "/" not in parts.path[:1] or parts.netloc.rpartition("@")[2]:
        raise _MalformedError("expected an absolute path: unix:///path/to/redis.sock")
    username, password = _login(parts)
    return RedisAddress(
        scheme="unix",
        path=unquote(parts.path),
        db=_database(arguments.pop("db", "")),
        username=arguments.pop("username", username),
        password=arguments.pop("password", password),
    )


def _network(parts: SplitResult, arguments: dict[str, str]) -> RedisAddress:
    path = [unquote(part) for part in parts.path.split("/") if part]
    sentinels = _names_sentinels(parts)
    service = path.pop(0) if sentinels and path else ""
    if len(path) > 1 or (sentinels and not service):
        raise _MalformedError(
            "expected /service or /service/db after the sentinels"
            if sentinels
            else "expected /db after the host"
        )
    username, password = _login(parts)
    return RedisAddress(
        scheme=parts.scheme,
        nodes=_nodes(parts),
        service=service,
        db=_database(arguments.pop("db", "") or "".join(path)),
        username=username,
        password=password,
        arguments=arguments,
    )


def _login(parts: SplitResult) -> tuple[str | None, str | None]:
    login, _, _ = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    return unquote(username) or None, unquote(password) or None


def _names_sentinels(parts: SplitResult) -> bool:
    return parts.scheme.endswith("+sentinel")


def _nodes(parts: SplitResult) -> tuple[tuple[str, int], ...]:
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if _names_sentinels(parts):
        return tuple(_node(host, DEFAULT_SENTINEL_PORT) for host in hosts)
    if len(hosts) > 1:
        raise _MalformedError("expected one host")
    return (_node(hosts[0], DEFAULT_PORT),)


def _node(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host or not all(char.isalnum() or char in "-._:%" for char in host):
        raise _MalformedError("expected a host name or address")
    return host, _port(port) if port else default_port


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise _MalformedError("expected a port from 1 to 65535")
    return int(text)


def _database(text: str) -> int:
    if text and not (text.isdecimal() and len(text) < 6):
        raise _MalformedError("expected a database number")
    return int(text or "0")
