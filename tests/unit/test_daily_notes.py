"""Small notes in the home, sorted by day."""

import time

import pytest

from falq.daily_notes import DAY_S, KEEP_DAYS, DailyNotes
from falq.errors import ConfigurationError


@pytest.fixture
def notes(tmp_path):
    return DailyNotes(tmp_path / "home", "kind")


@pytest.fixture
def on_day(monkeypatch):
    def set_day(day: int) -> None:
        monkeypatch.setattr(time, "time", lambda: day * DAY_S + 1.0)

    return set_day


def test_a_note_is_found_by_name_and_by_text_until_it_is_dropped(notes):
    assert notes.write("a", "text")
    assert not notes.write("a", "other")
    assert (notes.read("a"), notes.find("text")) == ("text", "a")
    notes.drop("a")
    assert (notes.read("a"), notes.find("text")) == (None, None)
    notes.drop("a")


def test_a_look_makes_nothing(notes, tmp_path):
    notes.drop("a")
    assert (notes.read("a"), notes.find("text")) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_taken_once_and_by_one_only_whatever_the_day(notes, on_day):
    on_day(20_000)
    assert notes.take("a", "mine")
    assert notes.take("a", "mine")
    assert not notes.take("a", "theirs")
    on_day(20_001)
    assert notes.take("a", "mine")
    assert not notes.take("a", "theirs")
    assert notes.read("a") == "mine"


def test_notes_are_kept_for_a_week(notes, on_day):
    on_day(20_000)
    notes.write("a", "text")
    on_day(20_000 + KEEP_DAYS - 1)
    notes.write("b", "text")
    assert notes.find("text") == "a"
    on_day(20_000 + KEEP_DAYS)
    notes.write("c", "text")
    assert notes.find("text") == "b"


def test_a_name_is_no_path(notes, tmp_path):
    notes.write("../../a", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_a_home_that_others_may_enter_is_refused(notes, tmp_path):
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home").chmod(0o755)
    with pytest.raises(ConfigurationError, match="open to other users"):
        notes.write("a", "text")
