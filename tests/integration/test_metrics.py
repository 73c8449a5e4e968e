"""What is counted, in the text that Prometheus reads."""

import re
import time

import pytest
from click.testing import CliRunner
from operating import FLUX, Queues
from prometheus_client.parser import text_string_to_metric_families

from falq import keys, presence
from falq.cli.main import run
from falq.cli.metrics import metrics
from falq.limits import Limits
from falq.metrics import BOUNDS, exposition
from falq.phases import Phase
from falq.sandbox import running_sandbox
from falq.scripts import compose

SLOW = Limits(max_concurrent=1, start_interval_s=0, rate_per_min=1, burst=1)


@pytest.fixture
def environ(redis_url, tmp_path):
    return {
        "FAL_KEY": "id:canary-secret", "FALQ_FAL_URL": "http://127.0.0.1:9",
        "FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path / "home"),
    }  # fmt: skip


@pytest.fixture
def queues(redis_client, environ, tmp_path):
    return Queues(redis_client, environ, tmp_path / "out")


def read(queues):
    """Give every sample by name and labels but the account."""
    text = exposition(queues.redis, queues.settings).decode()
    assert "canary" not in text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: v for name, v in sample.labels.items() if name != "account"}
            found[sample.name, *sorted(labels.items())] = sample.value
    return found


def test_an_empty_queue_counts_nothing(queues):
    told = read(queues)
    assert told["falq_jobs_enqueued_total",] == 0
    assert told["falq_job_seconds_count",] == 0
    assert told["falq_workers",] == 0


def test_jobs_are_counted_by_how_they_end_with_durations_and_units(redis_client, environ, tmp_path):
    with running_sandbox() as sandbox:
        queues = Queues(redis_client, environ | {"FALQ_FAL_URL": sandbox.url}, tmp_path / "out")
        queues.enqueue({"prompt": "a"})
        queues.enqueue({"prompt": 1})
        queues.work()
    told = read(queues)
    (done,) = [record for record in queues.journal.jobs() if record.phase == Phase.DONE]
    assert told["falq_jobs_enqueued_total",] == 2
    assert told["falq_jobs_granted_total",] == 2
    assert told["falq_jobs_ended_total", ("phase", "done")] == 1
    assert told["falq_jobs_ended_total", ("phase", "failed")] == 1
    assert told["falq_job_seconds_count",] == 2
    assert 0 < told["falq_job_seconds_sum",] < 60
    assert told["falq_billable_units_total",] == pytest.approx(done.billable_units)


def test_waits_are_counted_by_limit_and_queues_tell_what_holds_them(queues):
    for prompt in ("a", "b"):
        queues.enqueue({"prompt": prompt}, limits=SLOW)
    (grant,) = queues.admission.admit("w", 5, register=False).grants
    told = read(queues)
    assert told["falq_waits_total", ("limit", "concurrency")] == 1
    assert told["falq_queue_waiting", ("queue", "q")] == 1
    assert told["falq_queue_running", ("queue", "q")] == 1
    assert told["falq_queue_max_concurrent", ("queue", "q")] == 1
    assert told["falq_queue_held_seconds", ("limit", "concurrency"), ("queue", "q")] == -1
    queues.end(grant, Phase.CANCELLED)
    queues.admission.admit("w", 5, register=False)
    told = read(queues)
    assert told["falq_waits_total", ("limit", "rate")] == 1
    assert 50 < told["falq_queue_held_seconds", ("limit", "rate"), ("queue", "q")] <= 60


def test_jobs_in_flight_are_counted_by_queue_and_phase(queues):
    grant = queues.start()
    queues.journal.advance(grant.job_id, grant.token, Phase.SUBMITTING, fields={"submits": 1})
    assert read(queues)["falq_jobs_in_flight", ("phase", "submitting"), ("queue", "q")] == 1


def test_recovered_and_unknown_jobs_and_lost_holders_are_counted(queues):
    found, lost = queues.start(prompt="a"), queues.start(prompt="b")
    queues.end(found, Phase.DONE, recovered=True, outcome={"status": "COMPLETED"})
    queues.end(lost, Phase.UNKNOWN)
    told = read(queues)
    assert told["falq_jobs_recovered_total",] == 1
    assert told["falq_jobs_unknown",] == 1
    assert told["falq_jobs_ended_total", ("phase", "unknown")] == 1


def test_workers_are_counted(queues):
    presence.announce(queues.redis, queues.settings.account, "host.1.abc", {})
    assert read(queues)["falq_workers",] == 1


def test_the_command_prints_them(queues, environ):
    queues.enqueue({"prompt": "a"}, model_id=FLUX)
    answer = CliRunner().invoke(metrics, env=environ)
    assert answer.exit_code == 0
    assert "falq_jobs_enqueued_total 1.0" in answer.stdout


def test_without_a_server_there_is_nothing_to_count(tmp_path, monkeypatch, capsys):
    for name in ("FAL_KEY", "FALQ_REDIS_URL", "FALQ_FAL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FALQ_HOME", str(tmp_path / "home"))
    assert run(metrics, []) == 5
    assert "no embedded server runs" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_ends_and_waits_are_counted_for_each_queue(queues):
    for queue in ("a", "b"):
        queues.enqueue({"prompt": "x"}, queue=queue, limits=SLOW)
    queues.enqueue({"prompt": "y"}, queue="a", limits=SLOW)
    grants = queues.admission.admit("w", 5, register=False).grants
    for grant, phase in zip(grants, (Phase.FAILED, Phase.UNKNOWN), strict=True):
        queues.end(grant, phase)
    told = read(queues)
    of = {grant.queue: phase for grant, phase in zip(grants, ("failed", "unknown"), strict=True)}
    for queue, phase in of.items():
        assert told["falq_queue_ended_total", ("phase", phase), ("queue", queue)] == 1
    assert told["falq_queue_waits_total", ("limit", "concurrency"), ("queue", "a")] == 1
    assert ("falq_queue_waits_total", ("limit", "concurrency"), ("queue", "b")) not in told


@pytest.mark.parametrize(
    ("took_s", "first"), [(0.5, 1), (1.5, 2), (59.0, 60), (1799.0, 1800), (9000.0, None)]
)
def test_durations_fall_into_the_buckets_of_a_histogram(queues, redis_client, took_s, first):
    grant = queues.start()
    redis_client.hset(keys.job(grant.job_id), "created_at", time.time() - took_s)
    queues.end(grant, Phase.FAILED)
    told = read(queues)
    for bound in BOUNDS:
        expected = int(first is not None and bound >= first)
        assert told["falq_job_seconds_bucket", ("le", f"{bound}.0")] == expected, bound
    assert told["falq_job_seconds_bucket", ("le", "+Inf")] == 1
    assert told["falq_job_seconds_sum",] == pytest.approx(took_s, abs=0.5)


def test_the_buckets_of_the_script_are_those_of_the_metric():
    text = compose("advance")
    found = re.search(r"BOUNDS = \{ ([\d, ]+) \}", text)[1]
    assert tuple(map(int, found.split(","))) == BOUNDS


def test_a_job_of_no_account_leaves_no_counter_of_a_queue_behind(queues, redis_client):
    queues.environ["FAL_KEY"] = queues.environ["FALQ_FAL_URL"] = ""
    job_id = queues.enqueue({"prompt": "x"})
    queues.journal.cancel(job_id)
    assert redis_client.keys("falq:{}:scope:q") == []
