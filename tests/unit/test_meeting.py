"""The nonce by which a worker knows the caller's directory."""

import os

import pytest

from falq.meeting import OutOfReachError, leave_nonce, meet, part_ways, remove_nonce


def within_reach(directory, nonce):
    try:
        meet(str(directory), nonce).close()
    except OutOfReachError:
        return False
    return True


def test_a_worker_that_sees_the_nonce_is_within_reach(tmp_path):
    assert within_reach(tmp_path, leave_nonce(str(tmp_path)))


def test_what_takes_the_place_of_the_directory_after_the_meeting_is_not_written_to(tmp_path):
    mine, victim = tmp_path / "mine", tmp_path / "victim"
    mine.mkdir()
    victim.mkdir()
    with meet(str(mine), leave_nonce(str(mine))) as folder:
        mine.rename(tmp_path / "moved")
        mine.symlink_to(victim)
        folder.save(b"x", "label", ["cat.png"])
    assert list(victim.iterdir()) == []
    assert (tmp_path / "moved/cat.png").exists()


def test_a_directory_behind_a_symbolic_link_keeps_the_callers_path(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with meet(str(tmp_path / "out"), leave_nonce(str(tmp_path / "out"))) as folder:
        assert folder.path == str(tmp_path / "out")


@pytest.mark.parametrize("nonce", [None, "", "0" * 32, "../../etc/passwd", "0" * 31])
def test_a_nonce_that_nobody_left_proves_nothing(tmp_path, nonce):
    leave_nonce(str(tmp_path))
    assert not within_reach(tmp_path, nonce)


def test_a_directory_of_the_same_name_elsewhere_is_another_one(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "other").mkdir()
    nonce = leave_nonce(str(tmp_path / "mine"))
    assert not within_reach(tmp_path / "other", nonce)
    assert not within_reach(tmp_path / "missing", nonce)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_get_the_permissions_that_their_owner_gives_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        nonce = leave_nonce(str(tmp_path))
    finally:
        os.umask(before)
    with meet(str(tmp_path), nonce) as folder:
        folder.save(b"x", "label", ["cat.png"])
    assert (tmp_path / "cat.png").stat().st_mode & 0o777 == mode


def test_a_link_or_a_file_with_content_is_no_nonce(tmp_path):
    linked, filled = "a" * 32, "b" * 32
    (tmp_path / f".falq-{linked}").symlink_to(tmp_path)
    (tmp_path / f".falq-{filled}").write_text("x")
    assert not within_reach(tmp_path, linked)
    assert not within_reach(tmp_path, filled)


def test_the_nonce_goes_once_and_harmlessly(tmp_path):
    nonce = leave_nonce(str(tmp_path))
    for _ in range(2):
        remove_nonce(str(tmp_path), nonce)
    assert list(tmp_path.iterdir()) == []


def test_only_a_nonce_is_removed_whatever_has_its_name(tmp_path):
    linked, filled = "a" * 32, "b" * 32
    (tmp_path / f".falq-{linked}").symlink_to(tmp_path)
    (tmp_path / f".falq-{filled}").write_text("x")
    for nonce in (linked, filled):
        remove_nonce(str(tmp_path), nonce)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_nonce_clears_those_that_killed_callers_left(tmp_path):
    stale, fresh = leave_nonce(str(tmp_path)), leave_nonce(str(tmp_path))
    strange = {
        f".falq-{'c' * 32}": "not empty",
        ".falq-short": "",
        "a.png": "",
        ".falq-j-1.part": "",
    }
    for name, text in strange.items():
        (tmp_path / name).write_text(text)
    for name in (*strange, f".falq-{stale}"):
        os.utime(tmp_path / name, (0, 0))
    new = leave_nonce(str(tmp_path))
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {*strange, f".falq-{fresh}", f".falq-{new}"}


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
