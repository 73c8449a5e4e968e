"""What the downloader may fetch: schemes, origins, addresses, sizes, times."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from falq.errors import DownloadError
from falq.files.artifacts import shown_url

#: Bytes of one file, as in the seed ("100MB per file").
MAX_FILE_BYTES = 100 * 1024 * 1024
_PORTS = {"http": 80, "https": 443}
#: NAT64 (RFC 6052): an IPv4 address that an IPv6-only network reaches through a translator.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, kw_only=True)
class MediaPolicy:
    """Limits of a download.

    Attributes:
        allowed_origin: ``scheme://host:port`` of ``FALQ_FAL_URL``, the one origin that may
            speak plain HTTP and have a private address; a path behind it is ignored.
        max_bytes: Size of one file, counted after decoding.
        max_job_bytes: Size of all files of one job.
        max_redirects: Redirects that are followed, each checked like the first URL.
        attempts: Requests made for one file before giving up.
        idle_s: Silence of the server after which an attempt has failed.
        parallel: Downloads at once in one process; others wait for their turn.
    """

    allowed_origin: str | None = None
    max_bytes: int = MAX_FILE_BYTES
    max_job_bytes: int = 4 * 1024 * 1024 * 1024
    max_redirects: int = 3
    attempts: int = 4
    idle_s: float = 30.0
    parallel: int = 16

    def allowed_address(self) -> tuple[str, int] | None:
        """Give host and port of the allowed origin."""
        if self.allowed_origin is None:
            return None
        _, host, port = _origin(urlsplit(self.allowed_origin))
        return host, port

    def check_url(self, url: str) -> None:
        """Refuse a URL that must not be fetched; addresses are checked when they are known.

        >>> MediaPolicy().check_url("https://v3.fal.media/files/a.png")

        Raises:
            DownloadError: Not repeatable.
        """
        try:
            parts = urlsplit(url)
            origin = _origin(parts)
        except ValueError as err:
            raise refused(url, "it is no valid URL") from err
        if _UNFIT.search(url) or "@" in parts.netloc:
            raise refused(url, "it holds characters or credentials that no file's URL has")
        if self.allowed_origin is not None:
            allowed = _origin(urlsplit(self.allowed_origin))
            if origin == allowed:
                return
            if origin[1:] == allowed[1:]:
                raise refused(url, f"{self.allowed_origin} is only reached by its own scheme")
        if origin[0] != "https" or not origin[1]:
            raise refused(url, "only https:// is fetched")


def refused(url: str, reason: str) -> DownloadError:
    """Make the error for a URL that is never fetched however often one tries."""
    message = f"refused to fetch {shown_url(url)}: {reason}"
    hint = "the result JSON holds the URL; fetch it by hand if you trust it"
    return DownloadError(message, hint, retryable=False)


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet, wrapped ones looked into.

    >>> [is_public(a) for a in ("93.184.215.14", "127.0.0.1", "::ffff:10.0.0.1", "100.64.0.1")]
    [True, False, False, False]
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.sixtofour is not None or ip.teredo is not None or ip.is_site_local:
            return False
    odd = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_private
    return ip.is_global and not odd


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme, 0)
