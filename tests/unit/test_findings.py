"""What the doctor makes of what it finds."""

import pytest

from falq.findings import (
    Verdict,
    about_clock,
    about_disk,
    about_eviction,
    about_persistence,
    about_unknown,
    about_version,
    about_workers,
    exit_code,
    note,
    ok,
    trouble,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("product", "version", "verdict"),
    [
        ("redis", "7.2.10", Verdict.NOTE),
        ("redis", "7.2.11", Verdict.OK),
        ("redis", "7.4.5", Verdict.NOTE),
        ("redis", "8.2.1", Verdict.NOTE),
        ("redis", "8.4.0", Verdict.OK),
        ("redis", "7.0.15", Verdict.NOTE),
        ("redis", "6.2.20", Verdict.TROUBLE),
        ("valkey", "8.1.3", Verdict.NOTE),
        ("valkey", "8.1.4", Verdict.OK),
        ("valkey", "9.1.2", Verdict.OK),
        ("valkey", "9.1.2-rc1", Verdict.OK),
        ("redis", None, Verdict.NOTE),
    ],
)
def test_a_server_with_a_known_hole_is_noted_and_one_too_old_is_trouble(product, version, verdict):
    assert about_version(product, version).verdict is verdict


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_server_that_evicts_is_trouble(policy):
    finding = about_eviction(policy)
    assert finding.verdict is Verdict.TROUBLE
    assert policy in finding.found
    assert "noeviction" in finding.advice


@pytest.mark.parametrize(
    ("aof", "fsync", "verdict"),
    [
        (True, "always", Verdict.OK),
        (True, "everysec", Verdict.NOTE),
        (True, None, Verdict.NOTE),
        (False, None, Verdict.NOTE),
        (None, None, Verdict.NOTE),
    ],
)
def test_persistence_is_judged_by_what_a_fall_would_lose(aof, fsync, verdict):
    assert about_persistence(aof, fsync).verdict is verdict


@pytest.mark.parametrize(("difference_s", "verdict"), [(0.3, "ok"), (-9.0, "note"), (None, "note")])
def test_clocks_that_differ_are_noted(difference_s, verdict):
    assert about_clock(difference_s).verdict == verdict


@pytest.mark.parametrize(
    ("free_bytes", "verdict", "code"),
    [(5 * GIB, "ok", 0), (GIB // 2, "note", 0), (9, "trouble", 7)],
)
def test_a_full_disk_is_trouble(free_bytes, verdict, code):
    finding = about_disk("disk", "/x", free_bytes)
    assert (finding.verdict, finding.exit_code) == (verdict, code)


def worker(account="ours", version="1.0.0"):
    return {"name": "box.1", "account": account, "version": version}


def test_a_shared_redis_without_a_worker_for_us_is_noted():
    finding = about_workers([worker("another")], "ours", "1.0.0", embedded=False)
    assert finding.verdict is Verdict.NOTE
    assert "1 serve other accounts" in finding.found


def test_an_embedded_server_gets_its_worker_from_the_next_call():
    assert about_workers([], "ours", "1.0.0", embedded=True).verdict is Verdict.OK


def test_workers_of_another_version_are_noted():
    finding = about_workers([worker(version="0.9.0")], "ours", "1.0.0", embedded=False)
    assert finding.verdict is Verdict.NOTE
    assert "0.9.0" in finding.found


def test_without_a_key_any_worker_counts():
    assert about_workers([worker()], "", "1.0.0", embedded=False).verdict is Verdict.OK


def test_jobs_whose_outcome_is_unknown_are_noted_with_the_way_out():
    assert about_unknown(0).verdict is Verdict.OK
    assert "falq resolve" in about_unknown(2).advice


def test_the_exit_code_is_that_of_the_first_trouble_and_notes_are_none():
    fine = [ok("a", ""), note("b", "", "")]
    assert exit_code(fine) == 0
    assert exit_code([*fine, trouble("c", "", "", 4), trouble("d", "", "", 5)]) == 4
