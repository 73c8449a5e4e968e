import os

import pytest

from falq.errors import ConfigurationError
from falq.home import ensure_home, log_directory, redis_directory, run_directory, spool_directory


def mode(path):
    return path.stat().st_mode & 0o777


def test_a_missing_home_is_created_for_its_owner_alone(tmp_path):
    home = ensure_home(tmp_path / "state" / "falq")
    assert home.is_dir()
    assert mode(home) == 0o700


def test_ensuring_it_again_changes_nothing(tmp_path):
    assert ensure_home(tmp_path / "h") == ensure_home(tmp_path / "h")


@pytest.mark.parametrize("bits", [0o1777, 0o777, 0o770])
def test_a_directory_that_others_use_is_not_closed_but_another_chosen(tmp_path, bits):
    home = tmp_path / "h"
    home.mkdir()
    home.chmod(bits)
    with pytest.raises(ConfigurationError, match="open to other users") as caught:
        ensure_home(home)
    assert "choose another directory" in caught.value.hint
    assert "chmod" not in caught.value.hint


@pytest.mark.parametrize("bits", [0o750, 0o701, 0o755])
def test_a_home_open_to_others_is_refused_with_the_remedy(tmp_path, bits):
    home = tmp_path / "h"
    home.mkdir()
    home.chmod(bits)
    with pytest.raises(ConfigurationError, match="open to other users") as caught:
        ensure_home(home)
    assert "chmod 700" in caught.value.hint


def test_a_link_to_an_open_directory_is_refused(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "h").symlink_to(tmp_path / "open")
    with pytest.raises(ConfigurationError, match="open to other users"):
        ensure_home(tmp_path / "h")


def test_a_link_to_a_private_directory_gives_the_one_real_name(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "h").symlink_to(tmp_path / "real")
    assert ensure_home(tmp_path / "h") == (tmp_path / "real").resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_a_home_of_another_user_is_refused(tmp_path):
    home = ensure_home(tmp_path / "h")
    os.chown(home, 65534, 65534)
    with pytest.raises(ConfigurationError, match="belongs to user 65534"):
        ensure_home(home)


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "h").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        ensure_home(tmp_path / "h")


def test_the_parts_are_private_and_distinct(tmp_path):
    home = ensure_home(tmp_path / "h")
    parts = [
        part(home) for part in (redis_directory, log_directory, spool_directory, run_directory)
    ]
    assert len(set(parts)) == 4
    assert all(mode(part) == 0o700 for part in parts)


def test_a_part_that_is_a_link_is_refused(tmp_path):
    home = ensure_home(tmp_path / "h")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (home / "redis").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="no directory"):
        redis_directory(home)
