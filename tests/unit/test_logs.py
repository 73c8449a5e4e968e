"""Lines of a worker's log: one for each event, with its ids, and never a secret."""

import json
import logging
import sys

import pytest

from falq.logs import EventFormatter, redact

KEY = "canary-id:canary-secret"


def line(form, message, *args, **fields):
    record = logging.LogRecord("falq.worker", logging.INFO, "f", 1, message, args, None)
    vars(record).update(fields)
    return EventFormatter(form, [KEY]).format(record)


def test_a_json_line_carries_the_ids_of_its_job():
    told = json.loads(line("json", "submitted", job_id="j", request_id="r", phase="submitted"))
    assert (told["job_id"], told["request_id"], told["message"]) == ("j", "r", "submitted")
    assert told["level"] == "info"
    assert told["at"].endswith("Z")


def test_a_text_line_carries_the_ids_too():
    assert line("text", "started", job_id="j", queue="q").endswith("started job_id=j queue=q")


def test_a_field_that_is_unknown_yet_is_left_out():
    assert "request_id" not in line("text", "started", job_id="j", request_id=None)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "said",
    [
        f"Authorization: Key {KEY}",
        f"the key was {KEY!r}",
        f"GET /x?key={KEY}&y=1",
        f"FAL_KEY={KEY}",
        "data:image/png;base64,canary-secret",
        "data:text/plain;charset=utf-8,canary-secret",
        "data:text/plain,canary-secret",
        "redis://worker:canary-secret@box:6379/0",
        "rediss://:canary-secret@box:6379/0",
    ],
)
def test_no_line_holds_a_secret(form, said):
    assert "canary-secret" not in line(form, "failed: %s", said, model_id=said)


def test_a_traceback_stays_in_its_line_and_holds_no_secret():
    try:
        raise ValueError(f"Key {KEY}")
    except ValueError:
        record = logging.LogRecord("falq", logging.ERROR, "f", 1, "no", (), sys.exc_info())
    text = EventFormatter("text", [KEY]).format(record)
    assert "ValueError" in text
    assert "canary" not in text
    assert "\n" not in text


def test_a_models_text_makes_no_second_line_and_steers_no_terminal():
    text = line("text", "failed: %s", "no\n2026 info  done job_id=x\x1b[2J")
    assert "\n" not in text
    assert "\x1b" not in text


def test_what_is_no_secret_stays():
    assert redact("the keyboard is fine: https://v3.fal.media/a.png") == (
        "the keyboard is fine: https://v3.fal.media/a.png"
    )
