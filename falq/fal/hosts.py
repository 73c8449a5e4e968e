"""Where the roles of fal are served, and which URLs the key may travel to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from falq.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The base URL of each role of fal, without a slash at its end (fal-api.md §0).

    Attributes:
        queue_backups: Other bases whose URLs fal's queue may return; the key may go there.
    """

    queue: str
    run: str
    rest: str
    platform: str
    cdn: str
    site: str
    queue_backups: tuple[str, ...] = ()

    @classmethod
    def real(cls) -> Hosts:
        """Give fal's own hosts."""
        return cls(
            queue="https://queue.fal.run",
            run="https://fal.run",
            rest="https://rest.fal.ai",
            platform="https://api.fal.ai/v1",
            cdn="https://v3.fal.media",
            site="https://fal.ai",
            queue_backups=("https://queue.falrun.com",),
        )

    @classmethod
    def under(cls, url: str) -> Hosts:
        """Give the roles that one origin serves under fixed prefixes (``FALQ_FAL_URL``).

        >>> Hosts.under("http://127.0.0.1:9000/").platform
        'http://127.0.0.1:9000/v1'

        Raises:
            ConfigurationError: It is no plain http or https URL.
        """
        base = _checked_base(url)
        return cls(
            queue=f"{base}/queue",
            run=f"{base}/run",
            rest=f"{base}/rest",
            platform=f"{base}/v1",
            cdn=f"{base}/cdn",
            site=f"{base}/site",
        )

    def serves(self, url: str) -> bool:
        """Tell whether a URL that fal returned may carry the key.

        Only URLs below the queue's own base, compared as text: what is spelled in another
        way (a port, an upper-case host) counts as foreign and is rebuilt, which is safe.

        >>> Hosts.real().serves("https://queue.fal.run/fal-ai/flux/requests/1/status")
        True
        >>> Hosts.real().serves("https://queue.fal.run.evil.example/requests/1")
        False
        """
        below = any(url.startswith(f"{base}/") for base in (self.queue, *self.queue_backups))
        return below and url.isascii() and url.isprintable() and not _climbs(url)


def _climbs(url: str) -> bool:
    lowered = url.lower()
    return any(mark in lowered for mark in ("..", "%2e", "\\", " "))


def _checked_base(url: str) -> str:
    base = url.strip().rstrip("/")
    expected = "expected http://host:port or https://host, with a path at most"
    try:
        parts = urlsplit(base)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url!r} is no URL of fal: {expected}") from error
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ConfigurationError(f"{base.rpartition('@')[2]!r} is no URL of fal: {expected}")
    return base
