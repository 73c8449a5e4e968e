"""The spool of a worker: bounded, and emptied when callers have their files."""

import os
import time

import pytest

from falq.record import JobRecord
from workers.spool import FORGOTTEN_S, Spool, bound_spool, drop_delivered


class Known:
    """A journal that knows some jobs."""

    def __init__(self, **delivered):
        self._delivered = delivered

    def read_many(self, job_ids):
        return [
            JobRecord(job_id=job_id, delivered=self._delivered[job_id])
            for job_id in job_ids
            if job_id in self._delivered
        ]


@pytest.fixture
def spool(tmp_path):
    path = tmp_path / "spool"
    path.mkdir()
    return path


def put(spool, job_id, size, age_s=0.0):
    (spool / job_id).mkdir()
    (spool / job_id / "a.png").write_bytes(bytes(size))
    at = time.time() - age_s
    os.utime(spool / job_id, (at, at))


def jobs(spool):
    return sorted(path.name for path in spool.iterdir())


def test_the_oldest_jobs_go_until_the_spool_is_within_its_bound(spool):
    put(spool, "old", 100, age_s=30)
    put(spool, "older", 100, age_s=60)
    put(spool, "new", 100)
    bound_spool(spool, 250)
    assert jobs(spool) == ["new", "old"]
    bound_spool(spool, 0)
    assert jobs(spool) == []


def test_a_job_that_exceeds_the_bound_alone_goes_before_the_others(spool):
    put(spool, "old", 100, age_s=30)
    put(spool, "big", 300)
    bound_spool(spool, 250)
    assert jobs(spool) == ["old"]


def test_what_is_written_to_right_now_is_not_removed(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    spool = Spool(tmp_path / "home", max_bytes=10)
    with spool.open("a", 5) as folder:
        folder.save(bytes(20), "label", ["a.png"])
        spool.bound()
        drop_delivered(spool.path, Known(a=True))
        assert jobs(spool.path) == ["a"]
    spool.bound()
    assert jobs(spool.path) == []


def test_room_is_made_before_a_job_comes(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    spool = Spool(tmp_path / "home", max_bytes=100)
    put(spool.path, "old", 80, age_s=30)
    spool.bound()
    spool.open("new", 50).close()
    assert jobs(spool.path) == ["new"]


def test_a_spool_within_its_bound_is_left_alone(spool):
    put(spool, "a", 100)
    bound_spool(spool, 100)
    assert jobs(spool) == ["a"]


def test_what_callers_have_is_dropped_and_what_they_wait_for_is_kept(spool):
    put(spool, "had", 1)
    put(spool, "awaited", 1)
    drop_delivered(spool, Known(had=True, awaited=False))
    assert jobs(spool) == ["awaited"]


def test_a_job_of_another_redis_is_kept_for_as_long_as_records_are(spool):
    put(spool, "strange", 1)
    put(spool, "forgotten", 1, age_s=FORGOTTEN_S + 60)
    drop_delivered(spool, Known())
    assert jobs(spool) == ["strange"]


def test_a_link_in_the_spool_leads_nowhere(spool, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (spool / "link").symlink_to(tmp_path / "precious")
    bound_spool(spool, 0)
    drop_delivered(spool, Known(link=True))
    assert (tmp_path / "precious" / "file").exists()
