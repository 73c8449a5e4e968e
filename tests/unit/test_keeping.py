"""Records of direct calls that ended without their files."""

import os
import time

import pytest

from falq.keeping import KEEP_S, find_kept, forget, keep
from falq.record import JobRecord

RECORD = JobRecord(
    job_id="01a2-b",
    model_id="a/b",
    arguments={"prompt": "ü"},
    phase="failed",
    result={"images": []},
    logs=[{"message": "m"}],
    error={"type": "DownloadError"},
)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def test_a_kept_record_comes_back_as_it_was_until_it_is_forgotten(home):
    keep(home, RECORD)
    assert find_kept(home, "01a2-b") == RECORD
    forget(home, "01a2-b")
    assert find_kept(home, "01a2-b") is None
    forget(home, "01a2-b")


def test_nobody_else_can_read_it(home):
    keep(home, RECORD)
    assert (home / "direct" / "01a2-b").stat().st_mode & 0o777 == 0o600


def test_a_home_that_is_not_there_is_not_made_for_a_look(home):
    assert find_kept(home, "01a2-b") is None
    assert not home.exists()


@pytest.mark.parametrize("job_id", ["../01a2-b", "/etc/passwd", "", ".", "a/b", "a\0b"])
def test_a_job_id_is_no_path(home, job_id):
    keep(home, RECORD)
    assert find_kept(home, job_id) is None


def test_old_records_go(home):
    keep(home, RECORD)
    at = time.time() - KEEP_S - 60
    os.utime(home / "direct" / "01a2-b", (at, at))
    keep(home, JobRecord(job_id="new"))
    assert [path.name for path in (home / "direct").iterdir()] == ["new"]
