"""rq-dashboard under /rq with RQ 3.0 and JSON: every page, and each repair by itself."""

import pickle
import zlib

import pytest
from operating import Queues, failure
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from falq import keys
from falq.dashboard.app import create_app
from falq.dashboard.guard import Guard
from falq.dashboard.rq_pages import NOT_JSON, TolerantJson, escaped, mended_web
from falq.phases import Phase
from workers.rq_glue import Ending, RqWorker

LOCAL = {"Host": "127.0.0.1:9181"}
REGISTRIES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
CSRF = "the-page's-own-token"


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.fixture
def queues(redis_client, redis_url, tmp_path):
    environ = {
        "FAL_KEY": "id:secret", "FALQ_FAL_URL": "http://127.0.0.1:9",
        "FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    return Queues(redis_client, environ, tmp_path / "out")


@pytest.fixture
def client(queues):
    guard = Guard(host="127.0.0.1", csrf=CSRF)
    return create_app(queues.settings, guard).test_client()


def get(client, path):
    answer = client.get(f"/rq{path}", headers=LOCAL, follow_redirects=True)
    assert answer.status_code == 200, (path, answer.text[:500])
    return answer


def busy_worker(queues, grant):
    """Show a worker that holds a job, as RQ's tools see it."""
    worker = RqWorker(queues.redis, "host.1.abc", lambda _: None)
    worker.register_birth()
    (job,) = worker.load([grant.job_id])
    execution = worker.start([job])[0]
    worker.beat()
    return worker, job, execution


def failed_job(queues, message="fal says no"):
    grant = queues.start(prompt="x")
    worker, job, execution = busy_worker(queues, grant)
    queues.end(grant, Phase.FAILED, error={"type": "ModelError", "message": message})
    worker.end([failure(job, execution, message)])
    worker.register_death()
    return grant.job_id


@pytest.mark.parametrize("page", ["/", "/0/", "/0/view", "/0/view/queues", "/0/view/workers"])
def test_every_page_opens(queues, client, page):
    queues.enqueue({"prompt": "x"})
    assert "RQ-dashboard" in get(client, page).text


@pytest.mark.parametrize("registry", REGISTRIES)
@pytest.mark.parametrize("order", ["asc", "dsc"])
def test_every_registry_opens(queues, client, registry, order):
    failed_job(queues)
    queues.enqueue({"prompt": "x"})
    get(client, f"/0/view/jobs/q/{registry}/8/{order}/1")
    listed = get(client, f"/0/data/jobs/q/{registry}/8/{order}/1.json").json
    assert len(listed["jobs"]) == (1 if registry in ("queued", "failed") else 0)


def test_queues_are_counted(queues, client):
    failed_job(queues)
    queues.enqueue({"prompt": "x"})
    (queue,) = get(client, "/0/data/queues.json").json["queues"]
    assert (queue["name"], queue["failed_job_registry_count"]) == ("q", 1)


def test_a_busy_worker_is_shown_with_its_job(queues, client):
    grant = queues.start(prompt="x")
    busy_worker(queues, grant)
    (worker,) = get(client, "/0/data/workers.json").json["workers"]
    assert worker["current_job"]["job_id"] == grant.job_id
    assert worker["current_job"]["call_string"] == "sandbox/flux/dev"


def test_a_job_that_a_tool_deleted_while_it_ran_is_shown_when_it_is_done(queues, client):
    grant = queues.start(prompt="x")
    worker, job, execution = busy_worker(queues, grant)
    Job.fetch(grant.job_id, queues.redis, serializer=JSONSerializer).delete()
    worker.end([Ending(job=job, execution=execution, status=JobStatus.FINISHED, value={"a": 1})])
    listed = get(client, "/0/data/jobs/q/finished/8/dsc/1.json").json["jobs"]
    assert [each["id"] for each in listed] == [grant.job_id]
    shown = Job.fetch(grant.job_id, queues.redis, serializer=JSONSerializer)
    assert (shown.get_status(), shown.return_value()) == ("finished", {"a": 1})
    assert shown.ended_at is not None


def test_a_worker_tells_how_many_jobs_it_runs_beside_the_one_shown(queues, client):
    grants = [queues.start(prompt=f"{n}") for n in range(3)]
    worker = RqWorker(queues.redis, "host.1.abc", lambda _: None)
    worker.register_birth()
    worker.start(worker.load([grant.job_id for grant in grants]))
    worker.beat()
    (shown,) = get(client, "/0/data/workers.json").json["workers"]
    assert shown["current_job"]["call_string"] == "sandbox/flux/dev and 2 more"


def test_the_tab_of_jobs_opens_the_fullest_queue(queues, client):
    assert get(client, "/0/view/jobs").status_code == 200
    queues.enqueue({"prompt": "x"}, queue="a")
    queues.enqueue({"prompt": "x"}, queue="b")
    queues.enqueue({"prompt": "y"}, queue="a")
    assert get(client, "/0/view/jobs").request.path == "/rq/0/view/jobs/a/queued/8/asc/1"


def test_compact_takes_out_what_is_gone_and_leaves_the_rest_in_place(queues, client, redis_client):
    own = LOCAL | {"X-CSRFToken": CSRF, "Origin": "http://127.0.0.1:9181"}
    assert client.post("/rq/queue/empty/compact", headers=own).json == {"status": "OK"}
    jobs = [queues.enqueue({"prompt": f"{n}"}) for n in range(3)]
    redis_client.delete(keys.rq_job(jobs[1]))
    assert client.post("/rq/queue/q/compact", headers=own).json == {"status": "OK"}
    left = [each.decode() for each in redis_client.lrange(keys.rq_queue("q"), 0, -1)]
    assert left == [jobs[0], jobs[2]]


def test_requeue_of_a_job_that_did_not_fail_is_refused_in_words(queues, client):
    job_id = queues.enqueue({"prompt": "x"})
    own = LOCAL | {"X-CSRFToken": CSRF, "Origin": "http://127.0.0.1:9181"}
    answer = client.post(f"/rq/job/{job_id}/requeue", headers=own)
    assert (answer.status_code, answer.json["status"]) == (409, "ERROR")


def test_pages_carry_our_style_sheet_and_an_icon_that_there_is(client):
    text = get(client, "/").text
    for path in ("/static/rq.css", "/rq/static/favicon.ico"):
        assert path in text
        assert client.get(path, headers=LOCAL, buffered=True).status_code == 200


def test_a_worker_whose_job_was_deleted_is_shown_as_idle(queues, client, redis_client):
    grant = queues.start(prompt="x")
    busy_worker(queues, grant)
    redis_client.delete(keys.rq_job(grant.job_id))
    (worker,) = get(client, "/0/data/workers.json").json["workers"]
    assert worker["current_job"] == "idle"


def test_a_failed_job_is_shown_with_its_error(queues, client):
    job_id = failed_job(queues)
    get(client, f"/0/view/job/{job_id}")
    shown = get(client, f"/0/data/job/{job_id}.json").json
    assert (shown["status"], shown["exc_info"]) == ("failed", "fal says no")


def test_a_job_that_depends_on_another_is_shown_with_it(client, redis_client):
    queue = Queue("q", connection=redis_client, serializer=JSONSerializer)
    first = queue.enqueue("workers.job.run", kwargs={"model_id": "a/b"})
    second = queue.enqueue("workers.job.run", kwargs={"model_id": "a/b"}, depends_on=first)
    shown = get(client, f"/0/data/job/{second.id}.json").json
    assert (shown["depends_on"], shown["depends_on_status"]) == ([first.id], ["active"])
    assert get(client, "/0/data/jobs/q/deferred/8/asc/1.json").json["jobs"][0]["id"] == second.id


def test_a_pickled_job_is_shown_and_never_unpickled(client, redis_client):
    queue = Queue("q", connection=redis_client, serializer=JSONSerializer)
    job = queue.enqueue("workers.job.run", kwargs={})
    evil = pickle.dumps(Bomb())
    redis_client.hset(keys.rq_job(job.id), "data", zlib.compress(evil))
    redis_client.hset(keys.rq_job(job.id), "meta", evil)
    shown = get(client, f"/0/data/job/{job.id}.json").json
    assert NOT_JSON in shown["metadata"]
    get(client, "/0/data/jobs/q/queued/8/asc/1.json")


def test_what_is_no_json_reads_as_a_note():
    assert TolerantJson.loads(pickle.dumps({"a": 1})) == NOT_JSON
    assert TolerantJson.loads(TolerantJson.dumps({"a": 1})) == {"a": 1}


def test_rqs_own_classes_stay_as_they_are(client):
    assert mended_web().Job is not Job
    assert Job.dependency_ids.fget.__module__ == "rq.job"


def test_templates_write_every_value_escaped(client, queues):
    job_id = failed_job(queues)
    for path in ("/", "/0/view/workers", "/0/view/jobs", f"/0/view/job/{job_id}"):
        assert "<%=" not in get(client, path).text
    assert escaped("<%= $('<div/>').text(d.a).html() %>") == "<%- d.a %>"


def test_inline_scripts_carry_the_nonce_of_their_answer(client):
    answer = get(client, "/")
    nonce = answer.headers["Content-Security-Policy"].partition("'nonce-")[2].partition("'")[0]
    assert len(nonce) > 16
    assert f'<script type="text/javascript" nonce="{nonce}">' in answer.text
    other = get(client, "/")
    assert nonce not in other.headers["Content-Security-Policy"]


def test_no_address_of_redis_reaches_a_page(client, queues):
    assert queues.settings.redis_url.removeprefix("unix://") not in get(client, "/").text


def test_another_instance_or_job_is_not_found(client):
    assert client.get("/rq/1/view/queues", headers=LOCAL).status_code == 404
    assert client.get("/rq/0/view/job/none", headers=LOCAL).status_code == 404


def test_reading_never_changes_anything(queues, client):
    job_id = failed_job(queues)
    assert client.get("/rq/requeue/q", headers=LOCAL).status_code == 405
    assert client.get(f"/rq/job/{job_id}/requeue", headers=LOCAL).status_code == 405
    assert client.get(f"/rq/job/{job_id}/delete", headers=LOCAL).status_code == 405
    assert queues.journal.get(job_id).phase == Phase.FAILED


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-CSRFToken": "guessed"},
        {"X-CSRFToken": CSRF, "Origin": "https://evil.example"},
        {"X-CSRFToken": CSRF, "Origin": "null"},
    ],
)
def test_another_page_in_the_same_browser_changes_nothing(queues, client, headers):
    job_id = failed_job(queues)
    answer = client.post(f"/rq/job/{job_id}/delete", headers=LOCAL | headers)
    assert answer.status_code == 403
    assert queues.redis.exists(keys.rq_job(job_id))


def test_requeue_from_the_page_puts_a_failed_job_back(queues, client):
    job_id = failed_job(queues)
    own = LOCAL | {"X-CSRFToken": CSRF, "Origin": "http://127.0.0.1:9181"}
    assert client.post(f"/rq/job/{job_id}/requeue", headers=own).json == {"status": "OK"}
    assert queues.redis.lrange(keys.rq_queue("q"), 0, -1) == [job_id.encode()]
    job = Job.fetch(job_id, queues.redis, serializer=JSONSerializer)
    assert job.get_status() == "queued"


def test_the_pages_scripts_get_the_token_that_they_send_back(client):
    cookies = get(client, "/").headers.getlist("Set-Cookie")
    (cookie,) = [each for each in cookies if each.startswith("_csrf_token=")]
    assert "SameSite=Strict" in cookie
