"""``falq metrics``: the same text that ``/metrics`` of the dashboard gives."""

from __future__ import annotations

import os

import click

from falq.errors import RedisUnavailableError


@click.command()
def metrics() -> None:
    """Print metrics in Prometheus format.

    Starts nothing: without a server there is nothing to count.
    """
    from falq.metrics import exposition
    from falq.overview import find_redis
    from falq.redis_link import translate_redis_errors
    from falq.settings import Settings

    settings = Settings.from_env(os.environ)
    redis = find_redis(settings)
    if redis is None:
        raise RedisUnavailableError("no embedded server runs: there are no metrics", "falq up")
    with redis, translate_redis_errors():
        click.echo(exposition(redis, settings), nl=False)
