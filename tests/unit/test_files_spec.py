"""Output specifications, sidecars and log texts."""

import json

import pytest

from falq.errors import UsageError
from falq.files.artifacts import SavedFile
from falq.files.logs import render_logs
from falq.files.sidecar import JobFacts, read_sidecar, write_sidecar
from falq.files.spec import OutputSpec

SAVED = SavedFile(
    path="/o/a.png", url="https://h/a.png", content_type="image/png", bytes=3, sha256="ab"
)


def test_a_specification_survives_its_journey_through_json():
    spec = OutputSpec(directory="/o", output_file="sub/cat.png", sidecar=False, save_logs=True)
    assert OutputSpec.from_dict({**json.loads(json.dumps(spec.to_dict())), "later": 1}) == spec


def test_a_path_that_was_tampered_with_on_the_way_is_refused():
    spec = OutputSpec(directory="/o").to_dict()
    with pytest.raises(UsageError):
        OutputSpec.from_dict({**spec, "output_file": "../../etc/cron.d/x"})


def test_an_output_file_is_resolved_against_directory_and_caller():
    spec = OutputSpec(directory="/home/u/out", output_file="out/cat.png")
    assert spec.resolved("/home/u").output_file == "cat.png"
    assert spec.resolved().output_file == "out/cat.png"


def test_a_sidecar_tells_which_call_made_the_file_and_holds_no_data_uri():
    job = JobFacts(
        job_id="j", model_id="a/b", request_id="r", billable_units=1.5, sandbox=True,
        arguments={"prompt": "x", "images": ["data:image/png;base64,AAAA"]},
    )  # fmt: skip
    text = write_sidecar(SAVED, job, "2025-01-01T00:00:00+00:00")
    shown = json.loads(text)
    assert shown["arguments"]["prompt"] == "x"
    assert b"AAAA" not in text
    assert (shown["job_id"], shown["request_id"], shown["sha256"]) == ("j", "r", "ab")
    assert (shown["billable_units"], shown["sandbox"]) == (1.5, True)
    assert read_sidecar(text) == shown


def test_only_the_sandbox_is_called_one():
    assert b"sandbox" not in write_sidecar(SAVED, JobFacts(job_id="j", model_id="a/b"), "")


@pytest.mark.parametrize("text", [None, b"", b"[]", b"{}", b"\xff", b'{"job_id": 1}', b"[" * 9999])
def test_what_is_no_sidecar_is_not_taken_for_one(text):
    assert read_sidecar(text) is None


def test_log_lines_come_once_and_do_nothing_to_a_terminal():
    line = {"timestamp": "T1", "level": "INFO", "message": "step \x1b[31m1\x1b[0m\r\nnext\x07"}
    text = render_logs([line, line, {"timestamp": "T2", "message": "step"}, {"message": None}])
    assert text.splitlines() == ["T1 INFO step 1", "    next", "T2 step", ""]
