"""Records of direct calls that ended without their files."""

import os
import resource
import time
from dataclasses import replace

import pytest

from falq.keeping import KEEP_S, find_kept, forget, keep, kept_records, lock_of
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


def test_a_record_that_finds_no_room_leaves_the_one_before_and_nothing_else(home):
    keep(home, RECORD)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    try:
        with pytest.raises(OSError, match="File too large"):
            keep(home, replace(RECORD, phase="done"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert [path.name for path in (home / "direct").iterdir()] == ["01a2-b"]
    assert find_kept(home, "01a2-b") == RECORD


def test_whoever_works_on_a_call_holds_its_lock_and_a_look_is_no_record(home):
    keep(home, RECORD)
    with lock_of(home, "01a2-b") as lock, lock_of(home, "01a2-b") as other:
        assert lock.acquire()
        assert not other.acquire()
        lock.release()
        assert other.acquire()
        assert kept_records(home) == [RECORD]
        forget(home, "01a2-b")
    assert list((home / "direct").iterdir()) == []


def test_old_records_go(home):
    keep(home, RECORD)
    at = time.time() - KEEP_S - 60
    os.utime(home / "direct" / "01a2-b", (at, at))
    keep(home, JobRecord(job_id="new"))
    assert [path.name for path in (home / "direct").iterdir()] == ["new"]
