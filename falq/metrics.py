"""Metrics in Prometheus' format, read from what all workers count in Redis."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from redis import Redis

from falq import keys
from falq.overview import Overview, ScopeLine, overview
from falq.phases import TERMINAL
from falq.settings import Settings

CONTENT_TYPE = CONTENT_TYPE_LATEST

#: Counter in Redis → (metric, what it counts).
_COUNTERS = {
    "enqueued": ("falq_jobs_enqueued", "Jobs that were enqueued."),
    "deduplicated": ("falq_jobs_deduplicated", "Calls that attached to an equal job."),
    "recovered": ("falq_jobs_recovered", "Jobs whose lost request was found again."),
    "deaths": ("falq_worker_deaths", "Jobs that lost their holder."),
    "units:total": ("falq_billable_units", "Units that fal billed for jobs that are done."),
}
#: Upper ends of the buckets of durations, seconds; jobs.lua has the same.
BOUNDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
#: Prefix of a queue's counter → (metric, what it counts, its label).
_OF_QUEUES = {
    "ended:": ("falq_queue_ended", "Jobs of a queue by how they ended.", "phase"),
    "waits:": ("falq_queue_waits", "Refused starts of a queue by limit.", "limit"),
}
_ENDED_FOR_GOOD = frozenset(f"ended:{phase}" for phase in TERMINAL)


def exposition(redis: Redis, settings: Settings) -> bytes:
    """Give all metrics as text; reads only."""
    registry = CollectorRegistry()
    seen = overview(redis, settings)
    accounts = [line.account for line in seen.accounts]
    counted = [*_metrics(_counters(redis), seen), _grants(redis, accounts)]
    registry.register(_Once([*counted, *_of_queues(redis, seen.queues)]))
    return generate_latest(registry)


class _Once:
    """Gives metrics that were collected already."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> Iterator[Metric]:
        return iter(self._found)


def _counters(redis: Redis) -> dict[str, float]:
    stored: Any = redis.hgetall(keys.COUNTERS)
    return {name.decode(): float(value) for name, value in stored.items()}


def _grants(redis: Redis, accounts: Iterable[str]) -> Metric:
    text = "Jobs handed to workers; one that was adopted counts again."
    family = CounterMetricFamily("falq_jobs_granted", text, labels=["account"])
    for account in accounts:
        token: Any = redis.hget(keys.scope(account, keys.ACCOUNT_SCOPE), "token")
        family.add_metric([account], float(token or 0))
    return family


def _of_queues(redis: Redis, queues: Sequence[ScopeLine]) -> Iterator[Metric]:
    """Give the counters that each listed queue has of its own."""
    with redis.pipeline(transaction=False) as pipe:
        for line in queues:
            pipe.hgetall(keys.scope(line.account, line.queue))
        stored = pipe.execute()
    for prefix, (metric, text, label) in _OF_QUEUES.items():
        family = CounterMetricFamily(metric, text, labels=["account", "queue", label])
        for line, fields in zip(queues, stored, strict=True):
            for name, value in sorted(fields.items()):
                if name.decode().startswith(prefix):
                    where = [line.account, line.queue, name.decode().removeprefix(prefix)]
                    family.add_metric(where, float(value))
        yield family


def _metrics(counted: Mapping[str, float], seen: Overview) -> Iterator[Metric]:
    for name, (metric, text) in _COUNTERS.items():
        yield CounterMetricFamily(metric, text, value=counted.get(name, 0.0))
    yield _by_label("falq_jobs_ended", "Jobs by how they ended.", "phase", counted, "ended:")
    yield _by_label("falq_waits", "Refused starts by limit.", "limit", counted, "waits:")
    yield _durations(counted)
    yield from _queues(seen)
    yield from _moment(seen)


def _by_label(
    metric: str, text: str, label: str, counted: Mapping[str, float], prefix: str
) -> Metric:
    family = CounterMetricFamily(metric, text, labels=[label])
    for name, value in sorted(counted.items()):
        if name.startswith(prefix):
            family.add_metric([name.removeprefix(prefix)], value)
    return family


def _durations(counted: Mapping[str, float]) -> Metric:
    ended = sum(int(value) for name, value in counted.items() if name in _ENDED_FOR_GOOD)
    text = "Seconds from enqueueing to the end."
    family = HistogramMetricFamily("falq_job_seconds", text)
    upto = accumulate(counted.get(f"seconds:{bound}", 0.0) for bound in BOUNDS)
    buckets = [(f"{bound}.0", count) for bound, count in zip(BOUNDS, upto, strict=True)]
    total = counted.get("seconds:total", 0.0)
    family.add_metric([], buckets=[*buckets, ("+Inf", ended)], sum_value=total)
    return family


def _queues(seen: Overview) -> Iterator[Metric]:
    labels = ["account", "queue"]
    waiting = GaugeMetricFamily("falq_queue_waiting", "Jobs that wait.", labels=labels)
    running = GaugeMetricFamily("falq_queue_running", "Jobs that hold a slot.", labels=labels)
    most = GaugeMetricFamily("falq_queue_max_concurrent", "Slots.", labels=labels)
    held = GaugeMetricFamily(
        "falq_queue_held_seconds",
        "Until the next start; -1: nobody knows.",
        labels=[*labels, "limit"],
    )
    for line in (*seen.accounts, *seen.queues):
        where = [line.account, line.queue]
        waiting.add_metric(where, line.waiting)
        running.add_metric(where, line.running)
        if line.max_concurrent is not None:
            most.add_metric(where, line.max_concurrent)
        if line.limit:
            held.add_metric([*where, line.limit], -1.0 if line.wait_s is None else line.wait_s)
    yield from (waiting, running, most, held)


def _moment(seen: Overview) -> Iterator[Metric]:
    phases = GaugeMetricFamily(
        "falq_jobs_in_flight", "Jobs in flight by phase and queue.", labels=["queue", "phase"]
    )
    for (queue, phase), count in Tally((job.queue, job.phase) for job in seen.jobs).items():
        phases.add_metric([queue, phase], count)
    yield phases
    yield GaugeMetricFamily(
        "falq_jobs_unknown", "Jobs whose outcome is unknown.", value=len(seen.unknown)
    )
    yield GaugeMetricFamily("falq_workers", "Workers that are there.", value=len(seen.workers))
    yield GaugeMetricFamily("falq_intake", "Jobs without an account yet.", value=seen.intake)
