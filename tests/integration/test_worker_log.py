"""What a worker's log says of its jobs: one line per event, with the ids and the reason."""

import logging

import pytest
from operating import FLUX, Queues
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ResponseError

from falq.logs import configure_logging
from falq.phases import Phase
from falq.sandbox import running_sandbox
from workers.cli import run_worker
from workers.outage import Outage


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def about(self, job_id):
        return [each for each in self.records if getattr(each, "job_id", None) == job_id]


@pytest.fixture
def lines():
    logger = logging.getLogger("falq.worker")
    before, handler = logger.level, Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def sandbox():
    with running_sandbox() as running:
        yield running


@pytest.fixture
def queues(redis_client, redis_url, sandbox, tmp_path):
    environ = {
        "FAL_KEY": "id:secret", "FALQ_FAL_URL": sandbox.url, "FALQ_REDIS_URL": redis_url,
        "FALQ_HOME": str(tmp_path / "home"), "FALQ_LOOK_UP_GRACE_S": "0.5",
    }  # fmt: skip
    return Queues(redis_client, environ, tmp_path)


def test_a_job_that_starts_is_named_with_its_model(queues, lines):
    job_id = queues.enqueue({"prompt": "a"})
    queues.work()
    started = lines.about(job_id)[0]
    assert (started.getMessage(), started.model_id, started.queue) == ("started", FLUX, "q")


def test_a_refused_job_keeps_the_id_that_fal_gave_it(queues, lines):
    job_id = queues.enqueue({"prompt": 1})
    queues.work()
    ended = lines.about(job_id)[-1]
    record = queues.journal.get(job_id)
    assert record.phase == Phase.FAILED
    assert ended.request_id == record.error["request_id"] == record.shown_request_id
    assert ended.request_id


def test_a_429_is_one_line_with_its_reason_and_how_long_it_holds(queues, lines, sandbox):
    sandbox.add_fault("429", model_id=FLUX, times=1)
    job_id = queues.enqueue({"prompt": "a"})
    queues.work()
    told = [each.getMessage() for each in lines.about(job_id)]
    again = [text for text in told if text.startswith("queued")]
    assert len(again) == 1, told
    assert "fal answered 429" in again[0]
    assert "held for" in again[0]


def test_an_unknown_outcome_is_one_line(queues, lines, sandbox):
    sandbox.add_fault("drop", model_id=FLUX, times=1)
    job_id = queues.enqueue({"prompt": "a"})
    queues.work()
    told = [each.getMessage() for each in lines.about(job_id)]
    assert len([text for text in told if text.startswith("unknown")]) <= 1, told


def test_a_job_whose_holder_is_gone_and_that_is_adopted_is_named_with_its_request(queues, lines):
    grant = queues.start()
    fields = {"submits": 1, "submitting_at": 1.0, "request_id": "r1"}
    queues.journal.advance(grant.job_id, grant.token, Phase.SUBMITTING, fields=fields)
    queues.admission.surrender({grant.job_id: grant.token})
    queues.work()
    adopted = lines.about(grant.job_id)[0]
    assert adopted.getMessage() == "adopted"
    assert (adopted.request_id, adopted.model_id) == ("r1", FLUX)


def test_the_end_of_an_outage_is_told_once(lines):
    outage = Outage()
    outage.over()
    outage.tell(LostError("gone"))
    outage.tell(LostError("gone"))
    outage.over()
    outage.over()
    told = [each.getMessage() for each in lines.records]
    assert len(told) == 2
    assert "answers again" in told[1]


def test_a_refusal_is_no_outage(lines):
    outage = Outage()
    outage.tell(ResponseError("OOM"))
    outage.over()
    assert len(lines.records) == 1


def test_a_worker_says_where_and_for_whom_it_begins_and_what_its_redis_forgets(
    queues, sandbox, monkeypatch, capsys, redis_client, redis_url
):
    for name in ("falq", "rq"):
        logger = logging.getLogger(name)
        for attribute in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    redis_client.execute_command(
        "ACL", "SETUSER", "wk", "reset", "on", ">hunter2", "~*", "&*", "+@all"
    )
    url = redis_url.replace("unix://", "unix://wk:hunter2@")
    settings = Queues(redis_client, dict(queues.environ, FALQ_REDIS_URL=url), queues.out).settings
    configure_logging("text")
    run_worker(settings, 7, None, True, None)
    redis_client.acl_deluser("wk")
    said = capsys.readouterr().err
    assert settings.account in said
    assert "up to 7 jobs" in said
    assert redis_url.removeprefix("unix://") in said
    assert "neither an append-only file nor a replica" in said
    assert "hunter2" not in said


def test_a_quiet_worker_tells_warnings_only(capsys, monkeypatch):
    logger = logging.getLogger("falq")
    for attribute in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    configure_logging("text", level=logging.WARNING)
    logging.getLogger("falq.worker").info("begins")
    logging.getLogger("falq.worker").warning("ends")
    said = capsys.readouterr().err
    assert "ends" in said
    assert "begins" not in said
