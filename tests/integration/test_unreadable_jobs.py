"""Jobs whose options nobody can read: another version's, or written by hand."""

import asyncio
import dataclasses

import pytest

from falq.calling import Caller, CallRequest, new_job_id
from falq.files.spec import OutputSpec
from falq.phases import Phase
from falq.sandbox import running_sandbox
from falq.settings import Settings
from workers.building import build_engine


@pytest.fixture
def sandbox():
    with running_sandbox(latency=0) as running:
        yield running


@pytest.mark.parametrize(
    "wrong",
    [
        {"fixed_poll_s": "abc"},
        {"max_polls": -1},
        {"output": OutputSpec(directory=None)},
    ],
)
def test_a_job_that_cannot_be_read_fails_at_once_and_sends_nothing(
    wrong, sandbox, redis_url, redis_client, tmp_path
):
    settings = Settings.from_env(
        {
            "FAL_KEY": "id:secret", "FALQ_FAL_URL": sandbox.url, "FALQ_REDIS_URL": redis_url,
            "FALQ_HOME": str(tmp_path / "home"),
        }
    )  # fmt: skip
    request = CallRequest(
        model_id="sandbox/flux/dev", arguments={"prompt": "x"},
        output=OutputSpec(directory=str(tmp_path / "out")), sync=False,
    )  # fmt: skip
    with Caller(settings) as caller:
        job_id = new_job_id()
        caller.enqueue(dataclasses.replace(request, **wrong), job_id=job_id, attended=True)
        asyncio.run(build_engine(settings, redis_client, concurrency=2, burst=True).run())
        record = caller.get(job_id)
    assert record.phase == Phase.FAILED
    assert record.error["type"] == "UsageError"
    assert record.error["hint"]
    assert sandbox.posts() == 0
