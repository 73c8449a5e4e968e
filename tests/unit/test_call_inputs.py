"""What a call from Python may ask for: refused before anything is opened, sent or written."""

import math

import pytest

from falq import run_fal_api_job
from falq.call_values import read_count, read_seconds
from falq.errors import ArgumentsError, RedisUnavailableError, UsageError
from falq.following import FollowRules

MONTH_S = 31 * 86_400.0


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    """Nothing answers at this Redis and this fal: a call that is let through is seen."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.setenv("FALQ_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FALQ_REDIS_URL", "unix:///nowhere/s")
    monkeypatch.setenv("FALQ_ON_QUEUE_DOWN", "fail")


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_id": None}, {"model_id": 7}, {"output_dir": None}, {"output_dir": ""},
        {"output_dir": b"out"}, {"poll_interval": "abc"}, {"poll_interval": -3},
        {"poll_interval": math.nan}, {"poll_interval": math.inf}, {"poll_interval": True},
        {"poll_interval": MONTH_S + 1}, {"max_polls": 0}, {"max_polls": -1}, {"max_polls": 2.5},
        {"wait": -1}, {"wait": math.inf}, {"wait": "soon"}, {"priority": "urgent"},
        {"priority": ["high"]}, {"idempotency_key": ""}, {"idempotency_key": 5},
        {"queue_config": "nope.yaml"}, {"submit_args": {"prompt": "\ud800"}},
        {"sync_only": "false"}, {"output_file": 5},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(tmp_path, wrong):
    call = {"model_id": "a/b", "submit_args": {}, "output_dir": tmp_path / "out"} | wrong
    with pytest.raises(UsageError) as caught:
        run_fal_api_job(**call)
    name = next(iter(wrong))
    assert (
        name in caught.value.message
        or "nope.yaml" in caught.value.message
        or "U+D800" in str(caught.value)
    )
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_options_of_a_job_are_read_or_refused():
    assert FollowRules.of({}) == FollowRules()
    assert FollowRules.of({"poll_interval_s": 2, "max_polls": 3}).max_polls == 3
    for options in ({"fixed_poll_s": "abc"}, {"fixed_poll_s": 0}, {"max_polls": "3"}):
        with pytest.raises(UsageError, match=next(iter(options))):
            FollowRules.of(options)
    assert read_seconds({}, "x") is None
    assert read_count({"x": 1}, "x") == 1


@pytest.mark.parametrize("field", ["image_url", "image_urll=a.png", "image_url=missing.png"])
def test_a_call_from_python_names_files_as_the_command_line_does(tmp_path, field):
    with pytest.raises(ArgumentsError, match=r"--upload-field|no such file"):
        run_fal_api_job("a/b", {}, tmp_path / "out", upload_fields=[field], no_sidecar=True)


def test_an_error_names_the_model_that_it_is_about(tmp_path):
    with pytest.raises(RedisUnavailableError) as caught:
        run_fal_api_job("a/b", {}, tmp_path / "out")
    assert caught.value.model_id == "a/b"
