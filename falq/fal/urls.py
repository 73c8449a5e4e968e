"""Where each call about a request goes (fal-api.md §2.1).

A submit goes to the whole model id, every follow-up to its first two segments only (three
with a namespace): with the sub-path fal answers 405. The URLs that submit returned come
first, but the key travels with them, so a foreign one is never followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from falq.fal.hosts import Hosts
from falq.model_id import app_id


@dataclass(frozen=True, kw_only=True)
class RequestRef:
    """All that is needed to ask fal about a request again, days later too."""

    model_id: str
    request_id: str
    status_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None


def submit_url(hosts: Hosts, model_id: str) -> str:
    """Give the address that takes a model's jobs into fal's queue."""
    return f"{hosts.queue}/{model_id}"


def run_url(hosts: Hosts, model_id: str) -> str:
    """Give the address that runs a model on one connection."""
    return f"{hosts.run}/{model_id}"


def request_url(hosts: Hosts, ref: RequestRef) -> str:
    """Give the address of a request by the sub-path rule.

    >>> ref = RequestRef(model_id="fal-ai/flux/dev", request_id="r1")
    >>> request_url(Hosts.real(), ref)
    'https://queue.fal.run/fal-ai/flux/requests/r1'
    """
    return f"{hosts.queue}/{app_id(ref.model_id)}/requests/{quote(ref.request_id, safe='')}"


def _returned(hosts: Hosts, url: str | None) -> str | None:
    usable = url is not None and hosts.serves(url) and not {"?", "#"} & set(url)
    return url.rstrip("/") if usable and url is not None else None


def _candidates(*urls: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url for url in urls if url is not None))


def status_urls(hosts: Hosts, ref: RequestRef, *, logs: bool = False) -> tuple[str, ...]:
    """Give the addresses of a request's status, the best first; the next is for a 405.

    >>> ref = RequestRef(model_id="a/b", request_id="r", status_url="https://evil.example/r")
    >>> status_urls(Hosts.real(), ref, logs=True)
    ('https://queue.fal.run/a/b/requests/r/status?logs=1',)
    """
    query = "?logs=1" if logs else ""
    bare = _candidates(_returned(hosts, ref.status_url), f"{request_url(hosts, ref)}/status")
    return tuple(f"{url}{query}" for url in bare)


def stream_url(hosts: Hosts, ref: RequestRef, *, logs: bool = False) -> str:
    """Give the address of a request's status stream."""
    query = "?logs=1" if logs else ""
    return f"{status_urls(hosts, ref)[0]}/stream{query}"


def result_urls(hosts: Hosts, ref: RequestRef) -> tuple[str, ...]:
    """Give the addresses of a request's result, the best first.

    Fal's documents and replies disagree about a ``/response`` at the end; the form without
    is tried first.

    >>> ref = RequestRef(model_id="a/b/c", request_id="r",
    ...     response_url="https://queue.fal.run/a/b/requests/r/response")
    >>> result_urls(Hosts.real(), ref)[0]
    'https://queue.fal.run/a/b/requests/r'
    """
    returned = _returned(hosts, ref.response_url)
    plain = None if returned is None else returned.removesuffix("/response")
    return _candidates(plain, request_url(hosts, ref), returned)


def cancel_urls(hosts: Hosts, ref: RequestRef) -> tuple[str, ...]:
    """Give the addresses that cancel a request, the best first."""
    return _candidates(_returned(hosts, ref.cancel_url), f"{request_url(hosts, ref)}/cancel")
