"""What is said to somebody who waits: on a terminal, in a log, and not at all when quiet."""

import io
import re

import pytest

from falq.cli.progress import Progress
from falq.cli.show import Voice, visible
from falq.cli.waiting import Waiting, said_once, shown_bytes


def after(*events, now=0.0):
    waiting = Waiting()
    for event in events:
        waiting = waiting.after(event, now)
    return waiting


def test_a_waiting_job_says_which_limit_holds_it_how_long_and_its_place():
    event = {"waits_for": "rate", "eligible_in_s": 12.0, "queue_position": 3}
    waiting = after({"phase": "queued"}, event)
    assert waiting.line(2.0) == "waiting for the queue's rate, 10.0 s, place 4 in the queue"
    assert ", 0.0 s," in waiting.line(99.0)


def test_a_limit_without_an_end_says_no_time():
    event = {"waits_for": "concurrency", "eligible_in_s": None, "queue_position": 0}
    waiting = after({"phase": "queued"}, event)
    assert waiting.line(5.0) == "waiting for max_concurrent, place 1 in the queue"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"waits_for": "hold", "scope": "q", "reason": "fal answered 429", "eligible_in_s": 9},
            "waiting: the queue is held, fal answered 429, 9.0 s",
        ),
        (
            {"waits_for": "hold", "scope": "@", "reason": "fal refused the key"},
            "waiting: the account is held, fal refused the key",
        ),
        ({"waits_for": "paused", "scope": "q"}, "waiting: the queue is paused"),
        ({"waits_for": "paused", "scope": "@"}, "waiting: the account is paused"),
    ],
)
def test_what_is_held_or_paused_is_told_with_its_scope_and_reason(event, line):
    assert after({"phase": "queued"}, event).line(0.0) == line


def test_a_sync_run_is_not_said_to_be_sent_all_the_time():
    waiting = after({"phase": "submitting"}, {"sync": True})
    assert waiting.line(0.0) == "running at fal (sync)"
    assert waiting.after({"phase": "downloading"}, 0.0).line(0.0) == "saving files"


def test_a_job_that_ended_is_not_said_to_be_under_way():
    event = {"job_id": "j", "deduplicated": True, "stands": "done", "by_key": False}
    assert said_once(event) == "job j: an equal call, done"


def test_an_upload_ends_without_a_line_about_nothing(capsys):
    with Progress(Voice()) as progress:
        progress({"upload": "a.png", "bytes": 5, "of": 5})
        progress({"uploaded": "a.png"})
    assert "starting" not in capsys.readouterr().err


def test_a_limit_is_forgotten_when_the_job_moves_on():
    waiting = after({"phase": "queued"}, {"waits_for": "rate"}, {"phase": "running"})
    assert waiting.line(0.0) == "running at fal"


def test_fals_own_queue_is_told_from_ours():
    waiting = after({"phase": "submitted"}, {"fal_queue_position": 4})
    assert waiting.line(0.0) == "in fal's queue, place 5"


@pytest.mark.parametrize(("of", "share"), [(200, 0.25), (None, None), (10, 1.0)])
def test_a_transfer_knows_how_far_it_is(of, share):
    waiting = after({"upload": "a.png", "bytes": 50, "of": of})
    assert waiting.transfer.share == share
    assert waiting.line(0.0) == "uploading a.png"
    assert waiting.after({"uploaded": "a.png"}, 0.0).transfer is None


def test_what_nobody_knows_changes_nothing():
    waiting = after({"phase": "running"})
    assert waiting.after({"something": "newer"}, 9.0) == waiting


def test_a_models_log_line_steers_no_terminal():
    assert said_once({"log": "50%\x1b[2J\r\n\u202eok"}) == "log: 50% [2J   ok"
    assert visible("日本語 ü") == "日本語 ü"


@pytest.mark.parametrize(("count", "text"), [(1536, "1.5 KiB"), (3 * 2**20, "3.0 MiB")])
def test_sizes_are_told_in_fitting_units(count, text):
    assert shown_bytes(count) == text


EVENTS = [
    {"job_id": "j1", "deduplicated": False},
    {"phase": "queued"},
    {"waits_for": "rate", "eligible_in_s": 3.0, "queue_position": 0},
    {"waits_for": "rate", "eligible_in_s": 1.0, "queue_position": 0},
    {"phase": "submitting"},
    {"warning": "history: slow"},
    {"phase": "done"},
]


def test_without_a_terminal_each_change_is_one_line(capsys):
    with Progress(Voice()) as progress:
        for event in EVENTS:
            progress(event)
    told = capsys.readouterr()
    said = [line.partition("] ")[2] for line in told.err.splitlines()]
    assert said[0] == "job j1"
    assert said[1] == "waiting in the queue"
    assert said[2].startswith("waiting for the queue's rate")
    assert said[3:] == ["sending to fal", "warning: history: slow", "done"]
    assert told.out == ""


def test_quiet_says_nothing(capsys):
    with Progress(Voice(quiet=True)) as progress:
        for event in EVENTS:
            progress(event)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_one_line_moves_and_is_taken_away(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with Progress(Voice()) as progress:
        for event in EVENTS:
            progress(event)
        progress({"download": "cat.png", "bytes": 2**20, "of": 2**21})
    text = screen.getvalue()
    assert "job j1" in text
    assert "warning: history: slow" in text
    assert "1.0 MiB of 2.0 MiB" in text
    assert text.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in text


def test_no_color_is_honoured_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress(Voice()) as progress:
        progress({"job_id": "j1", "deduplicated": False})
        progress({"phase": "running"})
    assert re.search(r"\x1b\[[0-9;]*m", screen.getvalue().replace("\x1b[0m", "")) is None
    assert "running at fal" in screen.getvalue()
