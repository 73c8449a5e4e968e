"""What the environment says: key, Redis, home, fal's address, overrides of the queue's limits.

Read once by a composition root and passed on; nothing here is read at import.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from falq.errors import ConfigurationError, InvalidKeyError, MissingKeyError, UsageError
from falq.queue_config import VARIABLES, read_overrides
from falq.values import (
    MAX_SECONDS,
    boolean_from_text,
    number_from_text,
    number_within,
    whole_number,
)

if TYPE_CHECKING:
    from falq.fal.hosts import Hosts

OnQueueDown = Literal["direct", "fail"]
OnUnknownSubmit = Literal["fail", "resubmit"]
#: The choices; the first of each is the default.
ON_QUEUE_DOWN: tuple[OnQueueDown, ...] = ("direct", "fail")
ON_UNKNOWN_SUBMIT: tuple[OnUnknownSubmit, ...] = ("fail", "resubmit")

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_ACCOUNT_CAP = "FALQ_ACCOUNT_MAX_CONCURRENT"
#: Lifts a cap that is in force; no value leaves it as it is.
UNCAPPED = "none"
#: How long fal's history is searched for a request whose reply was lost, seconds.
LOOK_UP_GRACE_S = 30.0
#: One file of a result must be there within this time, all attempts together, seconds.
DOWNLOAD_TIMEOUT_S = 600.0
#: What a call to a sandbox on this machine uses where no key is set; nobody's key.
SANDBOX_KEY = "sandbox:sandbox"

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The environment, checked. The key and the Redis address never show in a repr."""

    key: str | None = field(repr=False)
    redis_url: str | None = field(repr=False)
    home: Path
    fal_url: str | None
    account_max_concurrent: int | None
    on_queue_down: OnQueueDown
    on_unknown_submit: OnUnknownSubmit
    allow_api_key_arg: bool
    queue_overrides: Mapping[str, str]
    account_uncapped: bool = False
    look_up_grace_s: float = LOOK_UP_GRACE_S
    download_timeout_s: float = DOWNLOAD_TIMEOUT_S

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, api_key: str | None = None) -> Settings:
        """Read and check every variable; an empty one counts as unset.

        Args:
            environ: ``os.environ`` or a stand-in for it.
            api_key: The deprecated ``--api-key``; wins over FAL_KEY where it is admitted.

        Raises:
            ConfigurationError: Names the variable, its value and what was expected.
            InvalidKeyError: The key holds characters that no key has.
            UsageError: ``api_key`` is given and FAL_ALLOW_API_KEY_ARG does not admit it.
        """
        env = _Environment(environ)
        fal_url = env.read("FALQ_FAL_URL", "an origin such as http://127.0.0.1:8765", _origin)
        allowed = env.read("FAL_ALLOW_API_KEY_ARG", "true or false", boolean_from_text)
        return cls(
            key=_admitted(api_key, allowed=bool(allowed)) or env.key() or _sandbox_key(fal_url),
            redis_url=env.redis_url(),
            home=_home(env.text("FALQ_HOME")),
            fal_url=fal_url,
            account_max_concurrent=env.read(
                _ACCOUNT_CAP, "a whole number >= 1, or none to lift the cap", _cap
            ),
            account_uncapped=env.text(_ACCOUNT_CAP) == UNCAPPED,
            on_queue_down=env.choose("FALQ_ON_QUEUE_DOWN", ON_QUEUE_DOWN),
            on_unknown_submit=env.choose("FALQ_ON_UNKNOWN_SUBMIT", ON_UNKNOWN_SUBMIT),
            allow_api_key_arg=bool(allowed),
            queue_overrides=env.queue_overrides(),
            look_up_grace_s=env.read_or(
                LOOK_UP_GRACE_S,
                "FALQ_LOOK_UP_GRACE_S",
                "seconds, at least 0, at most 31 days",
                _seconds,
            ),
            download_timeout_s=env.read_or(
                DOWNLOAD_TIMEOUT_S,
                "FALQ_DOWNLOAD_TIMEOUT_S",
                "seconds, more than 0, at most 31 days",
                _some_seconds,
            ),
        )

    @property
    def account(self) -> str:
        """Twelve hex digits that stand for the key in Redis; empty without a key.

        A stand-in for fal makes another account of the same key, so that no worker of a
        sandbox's jobs pays for them at fal, or the other way round.
        """
        if not self.key:
            return ""
        text = self.key if self.fal_url is None else f"{self.key} {self.fal_url}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def embedded(self) -> bool:
        """Whether falq's own server is used: no FALQ_REDIS_URL is set."""
        return self.redis_url is None

    @property
    def sandbox(self) -> bool:
        """Whether something else stands in for fal: FALQ_FAL_URL is set."""
        return self.fal_url is not None

    @property
    def hosts(self) -> Hosts:
        """The addresses of fal's parts."""
        from falq.fal.hosts import Hosts

        return Hosts.real() if self.fal_url is None else Hosts.under(self.fal_url)

    def require_key(self) -> str:
        """Give the key.

        Raises:
            MissingKeyError: None is set.
        """
        if self.key is None:
            raise MissingKeyError("FAL_KEY is not set (nor FAL_KEY_ID with FAL_KEY_SECRET)")
        return self.key


@dataclass(frozen=True)
class _Environment:
    """Reads single variables; what it raises names them."""

    environ: Mapping[str, str]

    def text(self, name: str) -> str | None:
        return self.environ.get(name, "").strip() or None

    def read(self, name: str, expected: str, parse: Callable[[str], _T]) -> _T | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError:
            raise ConfigurationError(f"{name} is {text[:80]!r}: expected {expected}") from None

    def read_or(self, default: _T, name: str, expected: str, parse: Callable[[str], _T]) -> _T:
        value = self.read(name, expected, parse)
        return default if value is None else value

    def choose(self, name: str, choices: tuple[_T, ...]) -> _T:
        """Read one of a few words; the first is the default."""
        chosen = self.read(name, " or ".join(map(str, choices)), _one_of(choices))
        return choices[0] if chosen is None else chosen

    def key(self) -> str | None:
        pair = (self.text("FAL_KEY_ID"), self.text("FAL_KEY_SECRET"))
        joined = ":".join(part for part in pair if part) if all(pair) else None
        return _checked_key(self.text("FAL_KEY") or joined, "FAL_KEY")

    def redis_url(self) -> str | None:
        """Check no more than the scheme; the address may hold a password and is not shown."""
        text = self.text("FALQ_REDIS_URL")
        scheme, separator, _ = (text or "").partition("://")
        if text is None or (separator and scheme.lower() in REDIS_SCHEMES):
            return text
        expected = ", ".join(f"{known}://" for known in REDIS_SCHEMES)
        found = f"begins with {scheme[:20]!r}" if separator else "has no scheme"
        raise ConfigurationError(f"FALQ_REDIS_URL {found}: expected one of {expected}")

    def queue_overrides(self) -> Mapping[str, str]:
        found = {name: text for name in VARIABLES if (text := self.text(name)) is not None}
        read_overrides(found)
        return found


def _admitted(api_key: str | None, *, allowed: bool) -> str | None:
    if api_key is None:
        return None
    if not allowed:
        raise UsageError(
            "--api-key is disabled: other processes can read a command line",
            "set FAL_KEY instead; FAL_ALLOW_API_KEY_ARG=1 admits --api-key for now",
        )
    return _checked_key(api_key.strip() or None, "--api-key")


def _checked_key(key: str | None, name: str) -> str | None:
    if key is not None and not all("!" <= char <= "~" for char in key):
        raise InvalidKeyError(f"{name} holds a blank or a character that no key has")
    return key


def _sandbox_key(fal_url: str | None) -> str | None:
    if fal_url is not None and is_loopback(urlsplit(fal_url).hostname):
        return SANDBOX_KEY
    return None


def is_loopback(host: str | None) -> bool:
    """Tell whether a host name or address is this machine's own.

    >>> is_loopback("127.0.0.5"), is_loopback("::1"), is_loopback("127.0.0.1.example.com")
    (True, True, False)
    """
    if host in LOOPBACK_HOSTS:
        return True
    parts = (host or "").split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdigit() for part in parts)


def _origin(text: str) -> str:
    url = urlsplit(text)
    extra = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc
    if url.scheme not in ("http", "https") or not url.hostname or extra or not _port_fits(url):
        raise ValueError
    return f"{url.scheme}://{url.netloc}"


def _port_fits(url: SplitResult) -> bool:
    return url.port is None or url.port > 0


def _count(text: str) -> int:
    return whole_number(number_from_text(text), 1)


def _cap(text: str) -> int | None:
    return None if text == UNCAPPED else _count(text)


def _seconds(text: str) -> float:
    return number_within(number_from_text(text), MAX_SECONDS, zero=True)


def _some_seconds(text: str) -> float:
    return number_within(number_from_text(text), MAX_SECONDS, zero=False)


def _one_of(choices: tuple[_T, ...]) -> Callable[[str], _T]:
    def parse(text: str) -> _T:
        for choice in choices:
            if choice == text:
                return choice
        raise ValueError

    return parse


def _home(text: str | None) -> Path:
    if text is not None:
        return _absolute(text)
    from platformdirs import user_state_path

    return user_state_path("falq")


def _absolute(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ConfigurationError(
            f"FALQ_HOME is {text!r}: expected a directory; nobody's home is meant by this ~"
        ) from None
