"""Names of saved files."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import UsageError
from falq.files.names import (
    inside,
    plan_names,
    plan_output_file,
    plan_stamped,
    safe_id,
    stem_of,
)

REQUEST = "764cabcf-b745-4b3e-ae38-1200304cf45b"


def first(plans, extension="png"):
    return [next(plan.candidates(extension)) for plan in plans]


def test_one_file_has_no_number_and_several_have():
    stem = stem_of("fal-ai/flux/dev", REQUEST)
    assert first(plan_names(stem, 1)) == ["flux-dev-764cabcf.png"]
    assert first(plan_names(stem, 2)) == ["flux-dev-764cabcf-1.png", "flux-dev-764cabcf-2.png"]


def test_auto_filename_is_exactly_request_id_and_timestamp():
    assert first(plan_stamped(REQUEST, "20250101120000", 3)) == [
        f"{REQUEST}_20250101120000.png",
        f"{REQUEST}_20250101120000_2.png",
        f"{REQUEST}_20250101120000_3.png",
    ]


def test_the_first_file_is_called_what_the_caller_said_whatever_it_is():
    assert first(plan_output_file("cat.png", 3), "jpg") == ["cat.png", "cat-2.jpg", "cat-3.jpg"]
    assert first(plan_output_file("cat.jpeg", 2), "jpg") == ["cat.jpeg", "cat-2.jpeg"]
    assert first(plan_output_file("cat", 2), "jpg") == ["cat.jpg", "cat-2.jpg"]
    assert first(plan_output_file("v1.0 final", 1), "jpg") == ["v1.0 final.jpg"]


def test_taken_names_are_counted_up():
    (plan,) = plan_output_file("cat.png", 1)
    assert list(islice(plan.candidates("png"), 3)) == ["cat.png", "cat-2.png", "cat-3.png"]


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_id_of_fal_becomes_a_path(model_id, request_id):
    for name in (f"{stem_of(model_id, request_id)}.png", safe_id(request_id)):
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert name.isascii()


@pytest.mark.parametrize(
    ("output_file", "expected"),
    [
        ("cat.png", "cat.png"),
        ("./cat.png", "cat.png"),
        ("sub/cat.png", "sub/cat.png"),
        ("/home/u/out/cat.png", "cat.png"),
        ("out/cat.png", "cat.png"),
        ("./out/sub//cat.png", "sub/cat.png"),
        ("größe 1.png", "größe 1.png"),
    ],
)
def test_a_path_inside_the_output_directory_is_taken(output_file, expected):
    assert inside("/home/u/out", output_file, "/home/u") == expected


@pytest.mark.parametrize(
    "output_file",
    [
        "../x", "../../x", "sub/../../x", "sub/../x", "/etc/passwd", "/home/u/outer/x",
        "/home/u/out", "/home/u/out/../x", "a\0b", "a\nb", "CON", "con.txt", "sub/NUL.png", "Lpt1",
        "x" * 300, "a/" * 40 + "x", "", ".", "sub/", "C:\\x", "..\\x", "x.", "x ", "a:b", "\ud800",
    ],
)  # fmt: skip
def test_a_path_that_leads_outside_or_is_no_name_is_refused(output_file):
    with pytest.raises(UsageError) as error:
        inside("/home/u/out", output_file, "/home/u")
    assert error.value.exit_code == 2
    assert len(error.value.message) < 400


@given(st.text(max_size=60))
def test_whatever_is_accepted_stays_inside(output_file):
    try:
        relative = inside("/home/u/out", output_file, "/home/u")
    except UsageError:
        return
    assert not relative.startswith("/")
    assert not {"", ".", ".."} & set(relative.split("/"))
