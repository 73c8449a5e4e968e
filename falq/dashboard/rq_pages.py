"""rq-dashboard 0.9 under ``/rq``, mended for RQ 3.0, for JSON, and for strangers' texts.

All contact with its internals is here; each repair has a test of its own:

- jobs, queues, registries and workers are read as JSON, never with pickle;
- dependencies are texts in RQ 3.0, where the package still decodes bytes;
- a worker whose job has gone is shown as idle instead of failing the whole page;
- what is no JSON is shown as such instead of failing the page;
- the connection is falq's own, and no address with a password reaches a page;
- values are written into pages escaped (the package writes error texts as they are);
- "Compact" takes dead ids out of a list instead of moving the list away for a while;
- "Jobs" opens a queue that there is, a worker shows which model it runs and how many more;
- a style sheet of ours keeps long names and addresses, and narrow windows, readable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from flask import Flask, Response, abort, current_app, g, jsonify, redirect, request, url_for
from jinja2 import BaseLoader, Environment
from redis import Redis

NOT_JSON = "(no JSON; falq does not read it)"
_TEXT_OF = re.compile(r"<%= \$\('<div/>'\)\.text\((.+?)\)\.html\(\) %>")


class TolerantJson:
    """RQ's serializer for reading: JSON, or a note that it is none."""

    @staticmethod
    def dumps(value: Any) -> bytes:
        """Write a value."""
        return json.dumps(value).encode()

    @staticmethod
    def loads(stored: bytes) -> Any:
        """Read a value; it is never unpickled."""
        try:
            return json.loads(stored)
        except ValueError:
            return NOT_JSON


class NotFailedError(Exception):
    """A requeue of a job that is in no registry of failures."""


class _Decoded(str):
    """A text that lets itself be decoded, as rq-dashboard still does."""

    __slots__ = ()

    def decode(self, *_: str) -> str:
        return str(self)


@cache
def mended_web() -> ModuleType:
    """Give rq-dashboard's web module, mended; its classes are exchanged once per process."""
    from rq_dashboard import web

    web.config.serializer = TolerantJson
    web.Job = _job_class(web)
    web.Queue = _queue_class(web)
    web.Worker = _worker_class(web)
    for name in [each for each in vars(web) if each.endswith("JobRegistry")]:
        setattr(web, name, _reading_json(getattr(web, name), web.Job))
    web.requeue_job = _requeue(web)
    web.from_url = lambda *_, **__: (None, current_app.extensions["falq_redis"]())
    mended: ModuleType = web
    return mended


def _job_class(web: ModuleType) -> type:
    base: Any = web.Job

    class JsonJob(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args[:2], **kwargs | {"serializer": TolerantJson})

        @property
        def dependency_ids(self) -> list[_Decoded]:
            return [_Decoded(each) for each in super().dependency_ids]

        beside: int = 0

        def get_call_string(self) -> str:
            more = f" and {self.beside} more" if self.beside else ""
            if self.description and not self.description.startswith("workers.job.run"):
                return f"{self.description}{more}"
            try:
                return f"{super().get_call_string()}{more}"
            except Exception:  # noqa: BLE001  # whatever a stranger wrote, the page is shown
                return NOT_JSON

    return JsonJob


def _queue_class(web: ModuleType) -> type:
    base: Any = web.Queue
    job = web.Job

    class JsonQueue(base):  # type: ignore[misc]
        job_class = job

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"serializer": TolerantJson, "job_class": job})

        def compact(self) -> None:
            for job_id in self.get_job_ids():
                if not job.exists(job_id, self.connection):
                    self.connection.lrem(self.key, 0, job_id)

    return JsonQueue


def _worker_class(web: ModuleType) -> type:
    base: Any = web.Worker
    job, queue = web.Job, web.Queue

    class JsonWorker(base):  # type: ignore[misc]
        job_class = job
        queue_class = queue

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"serializer": TolerantJson, "job_class": job})

        def get_current_job(self) -> Any:
            try:
                current = super().get_current_job()
            except web.NoSuchJobError:
                return None
            if current is not None:
                current.beside = self._count_jobs() - 1
            return current

        def _count_jobs(self) -> int:
            """Count the started jobs that are ours: a worker of falq runs many at once."""
            started: set[str] = set()
            for each in self.queues:
                registry = web.StartedJobRegistry(each.name, connection=self.connection)
                started |= set(registry.get_job_ids(cleanup=False))
            with self.connection.pipeline(transaction=False) as pipe:
                for job_id in started:
                    pipe.hget(job.key_for(job_id), "worker_name")
                names: list[bytes] = pipe.execute()
            return max(1, names.count(self.name.encode()))

    return JsonWorker


def _reading_json(registry: Any, job: type) -> type:
    class JsonRegistry(registry):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"serializer": TolerantJson, "job_class": job})

    return JsonRegistry


def _requeue(web: ModuleType) -> Callable[..., Any]:
    def requeue_job(job_id: str, connection: Redis, serializer: Any = None) -> Any:  # noqa: ARG001
        job = web.Job.fetch(job_id, connection=connection)
        if job not in job.failed_job_registry:
            raise NotFailedError(f"the job is {job.get_status()}: only a failed one is requeued")
        return job.requeue()

    return requeue_job


class EscapingLoader(BaseLoader):
    """Gives rq-dashboard's templates with every value escaped and every script signed."""

    def __init__(self, inner: BaseLoader) -> None:
        self._inner = inner

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Read a template and mend it."""
        source, path, fresh = self._inner.get_source(environment, template)
        return styled(escaped(source)), path, fresh


def styled(source: str) -> str:
    """Add our style sheet to a page's head, and name the icon that is there."""
    icon = "url_for('static', filename='favicon.ico')"
    source = source.replace(icon, "url_for('rq_dashboard.static', filename='favicon.ico')")
    sheet = """<link rel="stylesheet" href="{{ url_for('static', filename='rq.css') }}">"""
    return source.replace("</head>", f"{sheet}\n    </head>")


def escaped(source: str) -> str:
    """Escape what a template of rq-dashboard writes, and let its inline scripts run.

    >>> escaped("<b><%= d.exc_info %></b>")
    '<b><%- d.exc_info %></b>'
    """
    source = _TEXT_OF.sub(r"<%- \1 %>", source).replace("<%= ", "<%- ")
    return source.replace(
        '<script type="text/javascript">',
        '<script type="text/javascript" nonce="{{ g.csp_nonce }}">',
    )


def install(app: Flask, find_redis: Callable[[], Redis]) -> None:
    """Serve rq-dashboard under ``/rq``.

    Args:
        app: Guarded: the pages can requeue and delete.
        find_redis: Gives the connection; raises where there is none.
    """
    web = mended_web()
    app.extensions["falq_redis"] = find_redis
    app.config["RQ_DASHBOARD_REDIS_URL"] = ("falq",)
    app.before_request(_before)
    blueprint = web.blueprint
    if not isinstance(blueprint.jinja_loader, EscapingLoader):
        blueprint.jinja_loader = EscapingLoader(blueprint.jinja_loader)
    app.register_blueprint(blueprint, url_prefix="/rq")
    app.register_error_handler(web.NoSuchJobError, lambda _: ("there is no such job", 404))

    def not_now(error: Exception) -> tuple[Response, int]:
        return jsonify(status="ERROR", error=str(error)), 409

    app.register_error_handler(NotFailedError, not_now)


def _before() -> Any:
    if request.blueprint != "rq_dashboard":
        return None
    if (request.view_args or {}).get("instance_number", 0) != 0:
        abort(404)
    if request.endpoint != "rq_dashboard.static":
        redis: Any = current_app.extensions["falq_redis"]()
        current_app.redis_conn = redis  # type: ignore[attr-defined]
        g.redis = redis
        if request.endpoint == "rq_dashboard.jobs_overview" and "queue_name" in _without_name():
            return _jobs_of_a_queue(redis)
    return None


def _without_name() -> dict[str, Any]:
    """Give the arguments of a page of jobs that names no queue, else nothing."""
    given = request.view_args or {}
    return given if given.get("queue_name") is None else {}


def _jobs_of_a_queue(redis: Redis) -> Any:
    """Go to the queue with most waiting jobs; RQ's "default" is none of falq's."""
    queues = mended_web().Queue.all(connection=redis)
    if not queues:
        return None
    fullest = max(queues, key=lambda queue: (queue.count, queue.name))
    return redirect(
        url_for(
            "rq_dashboard.jobs_overview", instance_number=0, queue_name=fullest.name,
            registry_name="queued", per_page=8, order="asc", page=1,
        )
    )  # fmt: skip
