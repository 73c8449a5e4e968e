"""Each fault as a caller meets it."""

import gzip
import json
import time
import zlib

import httpx
import pytest

from falq.sandbox import running_sandbox

FLUX = "sandbox/flux/dev"
KEY = {"Authorization": "Key id:secret"}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def shared():
    with running_sandbox() as running:
        yield running


@pytest.fixture
def sandbox(shared):
    shared.clear_log()
    shared.clear_faults()
    return shared


@pytest.fixture
def http(sandbox):
    with httpx.Client(base_url=sandbox.url, headers=KEY, timeout=10) as client:
        yield client


def post(http, fault, op="queue", timeout=10, **arguments):
    given = {"prompt": "x", "image_size": "square", **arguments}
    return http.post(f"/{op}/sandbox/fault/{fault}", json=given, timeout=timeout)


def result(http, fault, **arguments):
    accepted = post(http, fault, **arguments).json()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        answer = http.get(accepted["response_url"])
        if "still in progress" not in answer.text:
            return answer
        time.sleep(0.02)
    raise AssertionError(answer.text)


def first_file(http, fault):
    return result(http, fault).json()["images"][0]["url"]


@pytest.mark.parametrize("op", ["queue", "run"])
@pytest.mark.parametrize(
    ("fault", "taken"),
    [("drop", 0), ("drop-registered", 1), ("truncated", 1)],
)
def test_a_broken_connection_is_taken_or_not_as_its_name_says(http, sandbox, op, fault, taken):
    with pytest.raises(httpx.RemoteProtocolError):
        post(http, fault, op)
    assert (sandbox.posts(), sandbox.registered()) == (1, taken)


@pytest.mark.parametrize("op", ["queue", "run"])
@pytest.mark.parametrize(
    ("fault", "taken"),
    [("hang", 1), ("hang-unregistered", 0), ("slow-loris", 1)],
)
def test_silence_is_taken_or_not_as_its_name_says(http, sandbox, op, fault, taken):
    with pytest.raises(httpx.ReadTimeout):
        post(http, fault, op, timeout=0.3)
    assert (sandbox.posts(), sandbox.registered()) == (1, taken)


@pytest.mark.parametrize("code", ["405", "500", "502", "503", "504"])
def test_an_error_status_is_taken_or_not_as_its_name_says(http, sandbox, code):
    answers = [post(http, name).status_code for name in (code, f"{code}-registered")]
    assert answers == [int(code)] * 2
    assert (sandbox.posts(), sandbox.registered()) == (2, 1)


def test_a_429_comes_with_or_without_the_time_to_wait(http, sandbox):
    assert "Retry-After" not in post(http, "429").headers
    assert post(http, "429/7").headers["Retry-After"] == "7"
    assert sandbox.registered() == 0


def test_an_ingress_error_is_html_without_a_request_id(http):
    answer = post(http, "html-502")
    assert answer.status_code == 502
    assert "nginx" in answer.text
    assert "x-fal-request-id" not in answer.headers


def test_garbage_is_a_200_that_was_taken(http, sandbox):
    answer = post(http, "garbage")
    with pytest.raises(ValueError):
        json.loads(answer.content)
    assert (answer.status_code, sandbox.registered()) == (200, 1)


def test_a_lost_request_is_in_the_history_with_its_arguments(http):
    with pytest.raises(httpx.RemoteProtocolError):
        post(http, "drop-registered", prompt="lost words")
    query = {"endpoint_id": "sandbox/fault/drop-registered", "expand": "payloads"}
    items = http.get("/v1/models/requests/by-endpoint", params=query).json()["items"]
    assert items[0]["json_input"]["prompt"] == "lost words"
    assert items[0]["status_code"] == 200


def test_status_errors_pass_after_the_number_of_times_asked_for(http):
    accepted = post(http, "status-500/2").json()
    codes = [http.get(accepted["status_url"]).status_code for _ in range(3)]
    assert codes == [500, 500, 200]


def test_a_status_405_lasts_while_the_result_works(http):
    accepted = post(http, "status-405").json()
    assert [http.get(accepted["status_url"]).status_code for _ in range(3)] == [405] * 3
    assert http.get(accepted["response_url"]).status_code == 200


def test_a_result_405_lasts_for_ever_or_for_a_while(http):
    accepted = post(http, "result-405").json()
    assert [http.get(accepted["response_url"]).status_code for _ in range(3)] == [405] * 3
    accepted = post(http, "result-405/1").json()
    assert [http.get(accepted["response_url"]).status_code for _ in range(2)] == [405, 200]


def test_missing_fields_leave_only_the_id(http):
    accepted = post(http, "missing-fields").json()
    assert list(accepted) == ["request_id"]
    status = http.get(f"/queue/sandbox/fault/requests/{accepted['request_id']}/status").json()
    assert list(status) == ["status"]


def test_an_unknown_status_is_shown_for_a_while(http):
    accepted = post(http, "unknown-status/2").json()
    states = [http.get(accepted["status_url"]).json()["status"] for _ in range(3)]
    assert states == ["WARMING_UP", "WARMING_UP", "COMPLETED"]


def test_a_request_goes_back_to_the_queue_once(http):
    accepted, states = post(http, "back-to-queue").json(), []
    while not states or states[-1] != "COMPLETED":
        state = http.get(accepted["status_url"]).json()["status"]
        states += [state] if states[-1:] != [state] else []
        time.sleep(0.02)
    assert states == ["IN_PROGRESS", "IN_QUEUE", "IN_PROGRESS", "COMPLETED"]


def test_an_infrastructure_failure_shows_in_status_and_result(http):
    accepted = post(http, "completed-with-error").json()
    answer = result(http, "completed-with-error")
    status = http.get(accepted["status_url"]).json()
    assert (status["status"], status["error_type"]) == ("COMPLETED", "runner_disconnected")
    assert (answer.status_code, answer.headers["X-Fal-Error-Type"]) == (503, "runner_disconnected")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("422", 422, "refuses everything"),
        ("content-policy", 422, "content_policy_violation"),
        ("result-gone", 404, "Not Found"),
        ("result-500", 500, "Internal Server Error"),
    ],
)
def test_a_result_fails_with_its_own_status(http, fault, code, words):
    answer = result(http, fault)
    assert answer.status_code == code
    assert words in answer.text


def test_addresses_may_lead_elsewhere_or_carry_a_suffix(http):
    assert post(http, "foreign-urls").json()["status_url"].startswith("https://foreign.invalid/")
    accepted = post(http, "response-suffix").json()
    assert accepted["response_url"].endswith("/response")
    assert http.get(accepted["response_url"]).status_code == 405
    assert http.get(accepted["response_url"].removesuffix("/response")).status_code == 200


def test_the_history_may_be_late_or_hide_what_runs(http):
    def listed(fault):
        query = {"endpoint_id": f"sandbox/fault/{fault}"}
        return len(http.get("/v1/models/requests/by-endpoint", params=query).json()["items"])

    post(http, "history-late/0.3")
    post(http, "history-no-running", sandbox_latency=0.3)
    assert (listed("history-late/0.3"), listed("history-no-running")) == (0, 0)
    time.sleep(0.4)
    assert (listed("history-late/0.3"), listed("history-no-running")) == (1, 1)


def test_a_scripted_fault_breaks_the_history_for_a_while(http, sandbox):
    rule = {"fault": "history-5xx", "op": "history", "times": 1}
    assert http.post("/sandbox/faults", json=rule).status_code == 200
    query = {"endpoint_id": FLUX}
    answers = [http.get("/v1/models/requests/by-endpoint", params=query) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 200]
    assert answers[0].json()["error"]["type"] == "server_error"


def test_scripted_faults_are_checked_listed_and_forgotten(http, sandbox):
    assert http.post("/sandbox/faults", json={"fault": "odd"}).status_code == 400
    sandbox.add_fault("503", model_id=FLUX, op="submit", times=2)
    assert http.get("/sandbox/faults").json()[0]["model_id"] == FLUX
    codes = [http.post(f"/queue/{FLUX}", json={"prompt": "x"}).status_code for _ in range(3)]
    assert codes == [503, 503, 200]
    http.delete("/sandbox/faults")
    assert http.get("/sandbox/faults").json() == []


def test_a_scripted_fault_reaches_a_shape_of_the_result(http, sandbox):
    sandbox.add_fault("audio-url", model_id=FLUX, times=1)
    accepted = http.post(f"/queue/{FLUX}", json={"prompt": "x"}).json()
    assert "audio_url" in http.get(accepted["response_url"]).json()


def test_a_header_or_an_argument_asks_for_a_fault(http, sandbox):
    url, body = f"/queue/{FLUX}", {"prompt": "x"}
    assert http.post(url, json=body, headers={"X-Sandbox-Fault": "503"}).status_code == 503
    assert http.post(url, json={**body, "sandbox_fault": "504"}).status_code == 504
    assert http.post(url, json=body, headers={"X-Sandbox-Fault": "odd"}).status_code == 400
    accepted = http.post(url, json=body).json()
    broken = http.get(accepted["status_url"], headers={"X-Sandbox-Fault": "500"})
    assert broken.status_code == 500


def test_shapes_of_results_vary(http):
    assert first_file(http, "data-uri").startswith("data:image/png;base64,")
    assert first_file(http, "file-url") == "file:///etc/passwd"
    assert first_file(http, "private-url").startswith("http://169.254.169.254/")
    nested = result(http, "nested").json()
    assert nested["data"]["variants"][1][0]["deep"]["picture"]["url"]
    names = [item["file_name"] for item in result(http, "hostile-name").json()["images"]]
    assert "../../../escape.png" in names


def test_of_eight_images_one_is_missing(http):
    codes = [
        httpx.get(item["url"]).status_code for item in result(http, "eight-images").json()["images"]
    ]
    assert sorted(codes) == [200] * 7 + [404]


def test_a_file_is_missing_or_fails_once(http):
    assert httpx.get(first_file(http, "cdn-404")).status_code == 404
    url = first_file(http, "cdn-500-then-ok")
    answers = [httpx.get(url) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 200]
    assert answers[1].content.startswith(PNG)


def test_a_file_breaks_off_or_never_comes(http):
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(first_file(http, "cdn-truncated"))
    for fault in ("cdn-hang", "cdn-slow-loris"):
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(first_file(http, fault), timeout=0.3)


def test_a_file_redirects_in_a_loop_or_to_a_given_address(http, sandbox):
    with pytest.raises(httpx.TooManyRedirects):
        httpx.get(first_file(http, "cdn-redirect-loop"), follow_redirects=True)
    assert "169.254" in httpx.get(first_file(http, "cdn-redirect-to")).headers["Location"]
    url = first_file(http, "history-late")
    sandbox.add_fault("redirect-to:http://10.0.0.1/x", op="cdn", times=1)
    assert httpx.get(url).headers["Location"] == "http://10.0.0.1/x"


@pytest.mark.parametrize("size", [1, 1_048_576, 3_000_001])
def test_a_file_has_exactly_the_size_asked_for(http, size):
    body = httpx.get(first_file(http, f"cdn-size/{size}")).content
    assert len(body) == size
    assert body[:8] == PNG[: len(body)]


def test_a_gzip_bomb_is_small_on_the_wire_and_correct(http):
    url = first_file(http, f"cdn-gzip-bomb/{1 << 26}")
    with httpx.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as stream:
        wire = b"".join(stream.iter_raw())
    assert stream.headers["Content-Encoding"] == "gzip"
    assert len(wire) < 200_000
    assert zlib.crc32(gzip.decompress(wire)) == zlib.crc32(bytes(1 << 26))


def test_a_file_of_the_wrong_type_says_png_and_is_html(http):
    answer = httpx.get(first_file(http, "cdn-wrong-type"))
    assert answer.headers["content-type"] == "image/png"
    assert b"<script>" in answer.content


def test_uploads_fail_as_scripted(http, sandbox):
    sandbox.add_fault("503", op="upload", times=1)
    token = [http.post("/rest/storage/auth/token", json={}).status_code for _ in range(2)]
    assert token == [503, 200]


def test_hung_requests_end_with_the_sandbox():
    began = time.monotonic()
    with running_sandbox() as running:
        client = httpx.Client(base_url=running.url, headers=KEY)
        with client, pytest.raises(httpx.ReadTimeout):
            client.post("/queue/sandbox/fault/hang", json={"prompt": "x"}, timeout=0.1)
    assert time.monotonic() - began < 5
