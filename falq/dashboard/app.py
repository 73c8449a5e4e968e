"""The web app: which address answers what. It only reads; rq-dashboard's buttons are guarded."""

from __future__ import annotations

import threading
from typing import Any

from flask import Flask, Response, abort, jsonify, render_template, request, send_file
from redis import Redis

from falq import __version__
from falq.dashboard import rq_pages
from falq.dashboard.guard import Guard
from falq.dashboard.results import (
    SHOWN_TYPES,
    Digests,
    open_file,
    open_sidecar,
    result_cards,
)
from falq.errors import RedisUnavailableError
from falq.journal import Journal
from falq.metrics import CONTENT_TYPE, exposition
from falq.overview import find_redis, overview
from falq.record import JobRecord
from falq.redis_link import redis_error, translate_redis_errors
from falq.settings import Settings

#: Results on the page.
SHOWN_RESULTS = 48


class RedisSource:
    """The connection of all requests; looked for again as long as there is none.

    Args:
        settings: Where Redis is. No server is started.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._redis: Redis | None = None

    def __call__(self) -> Redis:
        """Give it.

        Raises:
            RedisUnavailableError: No embedded server runs.
        """
        with self._lock:
            if self._redis is None:
                self._redis = find_redis(self._settings)
            if self._redis is None:
                raise RedisUnavailableError(
                    "nothing runs: no embedded server", "the next call starts it, or falq up"
                )
            return self._redis

    def drop(self) -> None:
        """Look for it anew: an embedded server may have ended, and another may start."""
        with self._lock:
            if self._redis is not None:
                self._redis.close()
            self._redis = None


def create_app(settings: Settings, guard: Guard) -> Flask:
    """Put the app together; nothing is connected yet."""
    app = Flask(__name__)
    guard.install(app)
    source = RedisSource(settings)
    rq_pages.install(app, source)
    _add_errors(app, source)
    _add_pages(app, settings, source)
    _add_files(app, settings, source)
    return app


def _add_errors(app: Flask, source: RedisSource) -> None:
    from redis.exceptions import RedisError

    def unavailable(error: Exception) -> tuple[Response, int]:
        source.drop()
        known = error if isinstance(error, RedisUnavailableError) else redis_error(error)
        return jsonify(error=known.message, hint=known.filled_hint), 503

    app.register_error_handler(RedisUnavailableError, unavailable)
    app.register_error_handler(RedisError, unavailable)


def _add_pages(app: Flask, settings: Settings, source: RedisSource) -> None:
    @app.get("/")
    def page() -> str:
        return render_template("falq/index.html", version=__version__)

    @app.get("/favicon.ico")
    def icon() -> tuple[str, int]:
        return "", 204

    @app.get("/api/state")
    def state() -> Response:
        redis = source()
        with translate_redis_errors():
            seen = overview(redis, settings)
            newest = Journal(redis, settings.account).jobs(limit=SHOWN_RESULTS)
        return jsonify(seen.to_dict() | {"results": result_cards(newest)})

    @app.get("/metrics")
    def metrics() -> Response:
        with translate_redis_errors():
            return Response(exposition(source(), settings), content_type=CONTENT_TYPE)


def _add_files(app: Flask, settings: Settings, source: RedisSource) -> None:
    digests = Digests()

    def record_of(job_id: str) -> JobRecord:
        with translate_redis_errors():
            record = Journal(source(), settings.account).find(job_id)
        return record if record is not None else abort(404, "there is no such job")

    @app.get("/files/<job_id>/<int:number>")
    def file(job_id: str, number: int) -> Response:
        opened = open_file(record_of(job_id), number, digests)
        if opened is None:
            abort(404, "the file is not on this machine, or not the one that was saved")
        return _sent(*opened)

    @app.get("/files/<job_id>/<int:number>/sidecar")
    def sidecar(job_id: str, number: int) -> Response:
        shown = open_sidecar(record_of(job_id), number)
        return jsonify(shown) if shown is not None else abort(404, "there is no sidecar")


def _sent(handle: Any, file: Any) -> Response:
    """Send an open file, or the part of it that a player asks for."""
    kind = str(file.get("content_type") or "")
    shown = kind in SHOWN_TYPES
    answer = send_file(
        handle,
        mimetype=kind if shown else "application/octet-stream",
        as_attachment=not shown,
        download_name=str(file["path"]).rpartition("/")[2],
        etag=False,
    )
    size = int(file["bytes"])
    answer.content_length = size
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    return answer
