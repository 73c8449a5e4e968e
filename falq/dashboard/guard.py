"""Who may talk to the dashboard, and what a browser may do with what it answers.

Without a token only this machine can reach it, so the dangers are other pages in the same
browser: a name that was made to point here (checked: the Host header), and a form or script
of another origin (checked: the token of every request that is no plain reading).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, make_response, redirect, request

from falq.settings import is_loopback

#: Name that rq-dashboard's scripts know: they send its value back as ``X-CSRFToken``.
CSRF_COOKIE = "_csrf_token"
TOKEN_COOKIE = "falq_token"  # noqa: S105  # a name, no secret
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: Reading that rq-dashboard answers by changing something.
_CHANGING_BY_GET = frozenset({"rq_dashboard.requeue_all"})
_OWN_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: rq-dashboard compiles its row templates in the browser and sets styles in its markup.
_RQ_CSP = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' 'nonce-{nonce}'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The rules of one dashboard.

    Args:
        host: What it is bound to.
        token: Asked of everybody; None asks nobody.
        names: Further host names by which it may be called.
    """

    host: str
    token: str | None = field(default=None, repr=False)
    names: Collection[str] = ()
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def install(self, app: Flask) -> None:
        """Check every request before anything else, and mark every answer."""
        app.before_request(self.check)
        app.after_request(self.mark)

    def check(self) -> Any:
        """Refuse a request, or let it pass with None."""
        g.csp_nonce = secrets.token_urlsafe(16)
        if not self.knows_host(request.host):
            abort(400, "this dashboard is not called by that name")
        if self.token is not None and not self._has_token():
            return self._ask_for_token()
        if request.endpoint in _CHANGING_BY_GET and request.method in _READING:
            abort(405, "reading changes nothing here")
        if request.method not in _READING:
            self._check_own_page()
        return None

    def knows_host(self, host: str) -> bool:
        """Tell whether a Host header names this dashboard.

        An address as such is no name that somebody could have pointed here.
        """
        name = (urlsplit(f"//{host}").hostname or "").lower()
        if is_loopback(name) or name in {each.lower() for each in (self.host, *self.names)}:
            return True
        return not is_loopback(self.host) and _is_address(name)

    def _has_token(self) -> bool:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        given = (
            bearer,
            request.headers.get("X-Falq-Token", ""),
            request.cookies.get(TOKEN_COOKIE, ""),
        )
        return any(_equal(each, self.token) for each in given)

    def _ask_for_token(self) -> Response:
        """Take the token out of the address into a cookie, or say that one is needed."""
        if request.method == "GET" and _equal(request.args.get("token", ""), self.token):
            answer = make_response(redirect(request.path))
            answer.set_cookie(
                TOKEN_COOKIE, self.token or "", httponly=True, samesite="Strict",
                secure=request.is_secure,
            )  # fmt: skip
            return answer
        refusal = make_response("falq dashboard: a token is needed; it was printed at the start\n")
        refusal.status_code = 401
        refusal.content_type = "text/plain; charset=utf-8"
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    def _check_own_page(self) -> None:
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.host
        if foreign or not _equal(request.headers.get("X-CSRFToken", ""), self.csrf):
            abort(403, "this changes something and did not come from a page of this dashboard")

    def mark(self, answer: Response) -> Response:
        """Tell the browser what the page may do."""
        rq = request.path.startswith("/rq/")
        csp = _RQ_CSP.format(nonce=g.get("csp_nonce", "")) if rq else _OWN_CSP
        answer.headers.setdefault("Content-Security-Policy", csp)
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        if not request.path.startswith(("/static/", "/rq/static/")):
            answer.headers["Cache-Control"] = "no-store"
        if rq and answer.mimetype == "text/html":
            answer.set_cookie(CSRF_COOKIE, self.csrf, samesite="Strict", secure=request.is_secure)
        return answer


def _equal(given: str, wanted: str | None) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode(), (wanted or "").encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
