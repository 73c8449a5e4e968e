"""The wire as fal-api.md describes it."""

import json
import threading
import time
import uuid

import httpx
import pytest

from falq.sandbox import hostile_catalogue, running_sandbox

FLUX = "sandbox/flux/dev"
KEY = {"Authorization": "Key id:secret"}
HISTORY = "/v1/models/requests/by-endpoint"


@pytest.fixture(scope="module")
def shared():
    with running_sandbox() as running:
        yield running


@pytest.fixture
def sandbox(shared):
    shared.clear_log()
    return shared


@pytest.fixture
def http(sandbox):
    with httpx.Client(base_url=sandbox.url, headers=KEY, timeout=10) as client:
        yield client


def submit(http, model_id=FLUX, headers=None, **arguments):
    given = {"prompt": "x", **arguments}
    return http.post(f"/queue/{model_id}", json=given, headers=headers or {}).json()


def finished(http, accepted):
    while True:
        body = http.get(accepted["status_url"], params={"logs": "1"}).json()
        if body["status"] == "COMPLETED":
            return body
        time.sleep(0.02)


def test_follow_up_addresses_drop_the_sub_path(http, sandbox):
    accepted = submit(http)
    base = f"{sandbox.url}/queue/sandbox/flux/requests/{accepted['request_id']}"
    assert accepted["response_url"] == base
    assert accepted["status_url"] == f"{base}/status"
    assert accepted["cancel_url"] == f"{base}/cancel"


def test_a_status_address_with_the_sub_path_is_405_without_a_word(http):
    accepted = submit(http)
    for tail in ("/status", ""):
        answer = http.get(f"/queue/{FLUX}/requests/{accepted['request_id']}{tail}")
        assert (answer.status_code, answer.content) == (405, b"")


def test_a_running_request_answers_202_and_its_result_400(http):
    accepted = submit(http, sandbox_latency=0.4)
    time.sleep(0.05)
    status = http.get(accepted["status_url"])
    assert (status.status_code, status.json()["status"]) == (202, "IN_PROGRESS")
    assert status.json()["logs"] is None
    early = http.get(accepted["response_url"])
    assert (early.status_code, early.json()["detail"]) == (400, "Request is still in progress")
    done = finished(http, accepted)
    assert [line["message"] for line in done["logs"]][-1] == "falq sandbox: done"


def test_a_result_carries_the_request_id_and_the_units(http):
    accepted = submit(http, image_size="square", num_images=2)
    finished(http, accepted)
    answer = http.get(accepted["response_url"])
    assert answer.headers["x-fal-request-id"] == accepted["request_id"]
    assert float(answer.headers["x-fal-billable-units"]) == pytest.approx(0.524)


def test_the_status_stream_tells_each_change_and_each_line_once(http):
    accepted = submit(http, headers={"X-Sandbox-Queue": "0.1"}, sandbox_latency=0.3)
    with http.stream("GET", f"{accepted['status_url']}/stream", params={"logs": 1}) as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line[6:]) for line in lines]
    assert [event["status"] for event in events] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    told = [line["message"] for event in events for line in event.get("logs") or []]
    assert len(told) == len(set(told)) == 3


def test_the_free_key_check_behaves_as_at_fal(http, sandbox):
    url = f"{sandbox.url}/queue/{FLUX.rpartition('/')[0]}/requests/{uuid.uuid4()}/status"
    assert http.get(url).json() == {"status": "NOT_FOUND"}
    assert httpx.get(url).status_code == 404
    bad = httpx.get(url, headers={"Authorization": "Key bad:key"})
    assert (bad.status_code, bad.json()) == (401, {"detail": "invalid key credentials"})
    assert httpx.get(url, headers={"Authorization": "Key broke:key"}).status_code == 404


def test_an_empty_balance_is_told_at_submit_and_nothing_is_taken(sandbox):
    broke = {"Authorization": "Key broke:key"}
    answer = httpx.post(f"{sandbox.url}/queue/{FLUX}", json={"prompt": "x"}, headers=broke)
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("User is locked. Reason: Exhausted balance.")
    assert (sandbox.posts(), sandbox.registered()) == (1, 0)


def test_another_key_does_not_see_a_request(http):
    accepted = submit(http)
    other = {"Authorization": "Key other:key"}
    assert httpx.get(accepted["status_url"], headers=other).status_code == 404


def test_the_queue_accepts_bad_arguments_and_the_result_refuses_them(http):
    accepted = submit(http, num_images=9)
    assert "error" not in finished(http, accepted)
    answer = http.get(accepted["response_url"])
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "less_than_equal")
    assert answer.headers["x-fal-billable-units"] == "0"
    direct = http.post(f"/run/{FLUX}", json={"num_images": 9, "prompt": "x"})
    assert direct.status_code == 422


def test_a_run_takes_its_real_time_and_is_found_in_the_history(http):
    began = time.monotonic()
    answer = http.post(f"/run/{FLUX}", json={"prompt": "unique words", "sandbox_latency": 0.2})
    assert time.monotonic() - began >= 0.2
    query = {"endpoint_id": FLUX, "expand": "payloads"}
    items = http.get(HISTORY, params=query).json()["items"]
    found = next(item for item in items if item["json_input"]["prompt"] == "unique words")
    assert found["json_output"] == answer.json()
    assert found["request_id"] == answer.headers["x-fal-request-id"]


def test_the_history_lists_a_running_request_and_filters(http):
    accepted = submit(http, sandbox_latency=5)
    query = {"endpoint_id": FLUX, "request_id": accepted["request_id"]}
    item = http.get(HISTORY, params=query).json()["items"][0]
    assert (item["ended_at"], item["status_code"]) == (None, None)
    assert "json_input" not in item
    assert http.get(HISTORY, params={**query, "status": "success"}).json()["items"] == []
    http.put(accepted["cancel_url"])
    ended = http.get(HISTORY, params={**query, "status": "user_error"}).json()["items"]
    assert ended[0]["status_code"] == 499


def test_the_history_needs_a_key_and_an_endpoint(http, sandbox):
    assert http.get(HISTORY).json()["error"]["type"] == "validation_error"
    closed = httpx.get(f"{sandbox.url}{HISTORY}", params={"endpoint_id": FLUX})
    assert (closed.status_code, closed.json()["error"]["type"]) == (401, "authorization_error")


def test_the_history_comes_in_pages(http):
    ids = {submit(http, "sandbox/flux/schnell")["request_id"] for _ in range(5)}
    query, found = {"endpoint_id": "sandbox/flux/schnell", "limit": 2}, []
    while True:
        page = http.get(HISTORY, params=query).json()
        found += [item["request_id"] for item in page["items"]]
        if not page["has_more"]:
            break
        query["cursor"] = page["next_cursor"]
    assert set(found) == ids
    assert len(found) == 5


def test_models_are_listed_in_pages_with_documents(http):
    page = http.get("/v1/models", params={"limit": 3, "expand": "openapi-3.0"}).json()
    assert len(page["models"]) == 3
    assert page["has_more"]
    assert page["models"][0]["openapi"]["openapi"] == "3.0.4"
    query = {"endpoint_id": "sandbox/broken-schema", "expand": "openapi-3.0"}
    failed = http.get("/v1/models", params=query).json()["models"][0]
    assert failed["openapi"]["error"]["code"] == "expansion_failed"
    assert http.get("/v1/models", params={"endpoint_id": "no/such"}).status_code == 404
    site = http.get("/site/api/openapi/queue/openapi.json", params={"endpoint_id": FLUX})
    assert site.json() == page["models"][0]["openapi"]


def test_prices_are_listed_and_estimated(http):
    price = http.get("/v1/models/pricing", params={"endpoint_id": FLUX}).json()["prices"][0]
    asked = {"estimate_type": "unit_price", "endpoints": {FLUX: {"unit_quantity": 10}}}
    estimate = http.post("/v1/models/pricing/estimate", json=asked).json()
    assert estimate["total_cost"] == pytest.approx(10 * price["unit_price"])


def test_an_unknown_model_is_404_and_not_taken(http, sandbox):
    assert (
        http.post("/queue/no/such", json={}).json()["detail"] == "Application 'no/such' not found"
    )
    assert http.post("/queue/sandbox/flux/odd", json={}).json()["detail"] == "Path /odd not found"
    assert sandbox.registered() == 0


def test_over_the_account_limit_runs_are_refused_and_queue_requests_wait():
    with running_sandbox(latency=0.3, account_limit=1) as running:
        with httpx.Client(base_url=running.url, headers=KEY) as http:
            first, second = submit(http), submit(http)
            time.sleep(0.05)
            refused = http.post(f"/run/{FLUX}", json={"prompt": "x"})
            assert (refused.status_code, refused.headers["X-Fal-Needs-Retry"]) == (429, "1")
            assert refused.json()["type"] == "concurrent_requests_limit"
            waiting = http.get(second["status_url"]).json()
            assert (waiting["status"], waiting["queue_position"]) == ("IN_QUEUE", 0)
            finished(http, first)
            finished(http, second)
        assert running.stats()["peak_in_progress"] == 1
        assert running.registered() == 2


def test_the_log_tells_arrival_key_and_what_was_taken(http, sandbox):
    accepted = submit(http)
    http.get(accepted["status_url"])
    post, status = sandbox.log()
    assert (post["op"], post["role"], post["method"]) == ("submit", "queue", "POST")
    assert post["registered"] is True
    assert post["request_id"] == status["request_id"] == accepted["request_id"]
    assert post["arrived"] <= status["arrived"]
    assert post["key_hash"] == status["key_hash"] != "id:secret"
    assert http.get("/sandbox/log").json() == sandbox.log()
    http.delete("/sandbox/log")
    assert sandbox.log() == []


def test_the_peak_of_running_requests_is_counted(sandbox):
    def call():
        body = {"prompt": "x", "sandbox_latency": 0.3}
        httpx.post(f"{sandbox.url}/run/{FLUX}", json=body, headers=KEY)

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = sandbox.stats()
    assert (stats["peak_in_progress"], stats["in_progress"]) == (5, 0)
    assert stats["peak_by_model"] == {FLUX: 5}


def test_a_caller_that_goes_away_does_not_end_its_run(http, sandbox):
    with pytest.raises(httpx.ReadTimeout):
        http.post(f"/run/{FLUX}", json={"prompt": "gone", "sandbox_latency": 0.3}, timeout=0.1)
    assert sandbox.stats()["in_progress"] == 1
    time.sleep(0.4)
    assert sandbox.stats()["in_progress"] == 0


def test_a_hostile_catalogue_is_served():
    with running_sandbox(models=hostile_catalogue()) as running:
        models = httpx.get(f"{running.url}/v1/models").json()["models"]
    assert any("{{7*7}}" in model["metadata"]["description"] for model in models)
