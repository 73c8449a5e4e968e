import pytest

from falq.errors import ConfigurationError
from falq.fal.hosts import Hosts
from falq.fal.urls import (
    RequestRef,
    cancel_urls,
    result_urls,
    status_urls,
    stream_url,
    submit_url,
)

REAL = Hosts.real()
LOCAL = Hosts.under("http://127.0.0.1:8123")


@pytest.mark.parametrize(
    "url",
    [
        "https://queue.fal.run/fal-ai/flux/requests/1",
        "https://queue.falrun.com/fal-ai/flux/requests/1/status",
    ],
)
def test_the_key_may_go_to_fals_queue(url):
    assert REAL.serves(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://queue.fal.run/x",
        "https://queue.fal.run",
        "https://queue.fal.run.evil.example/x",
        "https://queue.fal.run@evil.example/x",
        "https://queue.fal.run:444/x",
        "https://evil.example/https://queue.fal.run/x",
        "https://queue.fal.run\\@evil.example/x",
        "https://queue.fal.run/a/../../x",
        "https://queue.fal.run/a/%2e%2e/x",
        "https://queue.fal.run/a b",
        "https://queue.fal.run/a\r\nX: y",
        "https://queue.fal.run/ä",
        "",
    ],
)
def test_the_key_goes_nowhere_else(url):
    assert not REAL.serves(url)


def test_one_origin_serves_only_its_queue_prefix():
    assert LOCAL.serves("http://127.0.0.1:8123/queue/a/b/requests/1")
    assert not LOCAL.serves("http://127.0.0.1:8123/cdn/a/b")
    assert not LOCAL.serves("http://127.0.0.1:8124/queue/a/b")
    assert not LOCAL.serves("https://queue.fal.run/a/b/requests/1")


def test_one_origin_has_a_prefix_for_each_role():
    hosts = Hosts.under(" https://proxy.example/fal/ ")
    assert hosts.queue == "https://proxy.example/fal/queue"
    assert hosts.platform == "https://proxy.example/fal/v1"
    assert submit_url(hosts, "fal-ai/flux/dev") == "https://proxy.example/fal/queue/fal-ai/flux/dev"


@pytest.mark.parametrize(
    "url", ["", "localhost:80", "ftp://x", "http://", "http://x?y=1", "http://x:port", "http://[x"]
)
def test_what_is_no_origin_is_refused_by_name(url):
    with pytest.raises(ConfigurationError, match="no URL of fal"):
        Hosts.under(url)


def test_a_password_in_the_origin_is_refused_and_not_shown():
    with pytest.raises(ConfigurationError) as caught:
        Hosts.under("http://me:secret@x")
    assert "secret" not in str(caught.value)


def ref(**urls):
    return RequestRef(model_id="fal-ai/flux/dev", request_id="r1", **urls)


BASE = "https://queue.fal.run/fal-ai/flux/requests/r1"


def test_follow_ups_drop_the_sub_path():
    assert status_urls(REAL, ref()) == (f"{BASE}/status",)
    assert stream_url(REAL, ref(), logs=True) == f"{BASE}/status/stream?logs=1"
    assert result_urls(REAL, ref()) == (BASE,)
    assert cancel_urls(REAL, ref()) == (f"{BASE}/cancel",)


def test_a_namespace_shifts_the_sub_path_by_one():
    spaced = RequestRef(model_id="workflows/jane/film/v2", request_id="r")
    assert result_urls(REAL, spaced) == ("https://queue.fal.run/workflows/jane/film/requests/r",)


def test_returned_urls_come_first_and_the_rebuilt_ones_stay_as_second():
    returned = "https://queue.fal.run/fal-ai/flux/dev/requests/r1"
    kept = ref(status_url=f"{returned}/status", response_url=f"{returned}/response")
    assert status_urls(REAL, kept) == (f"{returned}/status", f"{BASE}/status")
    assert result_urls(REAL, kept) == (returned, BASE, f"{returned}/response")


def test_a_returned_url_on_another_host_or_with_a_query_is_rebuilt():
    foreign = ref(
        status_url="https://evil.example/status",
        response_url="http://169.254.169.254/x",
        cancel_url=f"{BASE}/cancel?next=https://evil.example",
    )
    assert status_urls(REAL, foreign) == (f"{BASE}/status",)
    assert result_urls(REAL, foreign) == (BASE,)
    assert cancel_urls(REAL, foreign) == (f"{BASE}/cancel",)


def test_a_request_id_cannot_climb_out_of_its_place():
    sly = RequestRef(model_id="a/b", request_id="../../x?y")
    assert result_urls(REAL, sly) == ("https://queue.fal.run/a/b/requests/..%2F..%2Fx%3Fy",)
