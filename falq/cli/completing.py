"""What a shell completes beside commands and options: names of queues and ids of jobs.

Looks only where a server runs; starts none, and stays silent about any trouble.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click

#: Newest jobs that are offered.
MOST_JOBS = 50


def queue_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Give the queues whose names begin so."""
    return _ask(_queues, incomplete)


def job_ids(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Give the newest jobs whose ids begin so, newest first."""
    return _ask(_jobs, incomplete)


def _queues(redis: Any, settings: Any) -> Iterable[str]:
    from falq.overview import accounts_in_use, scopes_of

    accounts = accounts_in_use(redis, settings)
    return sorted({line.queue for each in accounts for line in scopes_of(redis, each)})


def _jobs(redis: Any, settings: Any) -> Iterable[str]:
    from falq.journal import Journal

    return (record.job_id for record in Journal(redis, settings.account).jobs(limit=MOST_JOBS))


def _ask(look: Callable[[Any, Any], Iterable[str]], incomplete: str) -> list[str]:
    from falq.overview import find_redis
    from falq.settings import Settings

    try:
        settings = Settings.from_env(os.environ)
        redis = find_redis(settings)
        if redis is None:
            return []
        with redis:
            return [each for each in look(redis, settings) if each.startswith(incomplete)]
    except Exception:  # noqa: BLE001  # whatever goes wrong, a shell gets no text of it
        return []
