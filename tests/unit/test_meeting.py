"""The nonce by which a worker knows the caller's directory."""

import os

import pytest

from falq.meeting import leave_nonce, meet, part_ways, remove_nonce


def test_a_worker_that_sees_the_nonce_is_within_reach(tmp_path):
    assert meet(str(tmp_path), leave_nonce(str(tmp_path))) is not None


@pytest.mark.parametrize("nonce", [None, "", "0" * 32, "../../etc/passwd", "0" * 31])
def test_a_nonce_that_nobody_left_proves_nothing(tmp_path, nonce):
    leave_nonce(str(tmp_path))
    assert meet(str(tmp_path), nonce) is None


def test_a_directory_of_the_same_name_elsewhere_is_another_one(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "other").mkdir()
    nonce = leave_nonce(str(tmp_path / "mine"))
    assert meet(str(tmp_path / "other"), nonce) is None
    assert meet(str(tmp_path / "missing"), nonce) is None


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_get_the_permissions_that_their_owner_gives_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        nonce = leave_nonce(str(tmp_path))
    finally:
        os.umask(before)
    assert meet(str(tmp_path), nonce) == mode


def test_a_link_or_a_file_with_content_is_no_nonce(tmp_path):
    linked, filled = "a" * 32, "b" * 32
    (tmp_path / f".falq-{linked}").symlink_to(tmp_path)
    (tmp_path / f".falq-{filled}").write_text("x")
    assert meet(str(tmp_path), linked) is None
    assert meet(str(tmp_path), filled) is None


def test_the_nonce_goes_once_and_harmlessly(tmp_path):
    nonce = leave_nonce(str(tmp_path))
    for _ in range(2):
        remove_nonce(str(tmp_path), nonce)
    assert list(tmp_path.iterdir()) == []


def test_parting_removes_what_the_options_of_the_job_name(tmp_path):
    kept, gone = leave_nonce(str(tmp_path)), leave_nonce(str(tmp_path))
    part_ways({"output": {"directory": str(tmp_path)}, "nonce": gone})
    assert [path.name for path in tmp_path.iterdir()] == [f".falq-{kept}"]


@pytest.mark.parametrize(
    "options",
    [{}, {"nonce": "a" * 32}, {"output": None}, {"output": {"directory": 7}, "nonce": "../x"}],
)
def test_parting_from_a_job_of_a_stock_tool_does_nothing(options):
    part_ways(options)
