"""Names of skills stay valid and distinct."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import UsageError
from falq.model_id import module_name, parse_model_id
from generator.naming import check_skill_name, choose_names

segment = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}", fullmatch=True)
model_ids = st.lists(segment, min_size=2, max_size=4).map("/".join)


def is_model_id(text):
    try:
        return parse_model_id(text) == text
    except UsageError:
        return False


@given(st.lists(model_ids.filter(is_model_id), max_size=8, unique=True))
def test_every_model_gets_a_valid_name_of_its_own(ids):
    names = choose_names(ids, lambda _: None)
    assert len(set(names.values())) == len(ids)
    for name in names.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert len(name) <= 64
        assert module_name(name).isidentifier()


def test_ids_that_meet_after_slugging_are_told_apart():
    names = choose_names(["a/b-c", "a/b/c", "a/b.c"], lambda _: None)
    assert len(set(names.values())) == 3


def test_a_name_that_another_models_skill_has_is_not_taken():
    names = choose_names(["a/b/c"], {"a-b-c": "a/b-c"}.get)
    assert names["a/b/c"] != "a-b-c"


def test_a_models_own_skill_keeps_its_name():
    assert choose_names(["a/b/c"], {"a-b-c": "a/b/c"}.get) == {"a/b/c": "a-b-c"}


@pytest.mark.parametrize("model_id", ["fal/api-call", "queue/client", "fal/skill-creator"])
def test_no_wrapper_takes_the_place_of_a_shared_script_or_skill(model_id):
    name = choose_names([model_id], lambda _: None)[model_id]
    assert check_skill_name(name) == name


UNFIT = (
    *("", "Upper", "a--b", "-a", "a-", "a b", "../x", "a/b", "x" * 65, "ünïcode", "a\n"),
    *("json", "queue", "click", "fal-api-call", "fal-skill-creator"),
)


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_name_is_refused_by_value(name):
    with pytest.raises(UsageError, match="cannot be the name of a skill"):
        check_skill_name(name)
