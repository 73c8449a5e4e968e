import json

from hypothesis import given
from hypothesis import strategies as st

from falq.canonical import arguments_hash, canonical, fingerprint

names = st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=4)


def reordered(value):
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(each) for each in value] if isinstance(value, list) else value


@given(objects)
def test_the_order_of_keys_does_not_matter(arguments):
    assert canonical(reordered(arguments)) == canonical(arguments)
    assert arguments_hash(reordered(arguments)) == arguments_hash(arguments)


@given(objects)
def test_nothing_is_lost_but_the_kind_of_a_number(arguments):
    assert json.loads(canonical(arguments)) == arguments


@given(objects, objects)
def test_different_arguments_have_different_texts(one, other):
    if canonical(one) == canonical(other):
        assert one == other


def test_true_is_no_number():
    assert canonical({"a": True}) != canonical({"a": 1})
    assert canonical({"a": 1.0}) == canonical({"a": 1})
    assert canonical({"a": "1"}) != canonical({"a": 1})


def test_the_order_of_a_list_matters():
    assert canonical([1, 2]) != canonical([2, 1])


def test_half_a_surrogate_pair_has_a_hash():
    assert arguments_hash({"prompt": "\ud800"}) != arguments_hash({"prompt": "\ud801"})


def test_a_call_is_named_by_who_what_and_where_to():
    call = ("acc", "fal-ai/flux/dev", {"prompt": "a"}, {"directory": "/out"})
    changed = [
        ("other", *call[1:]),
        (call[0], "fal-ai/flux", *call[2:]),
        (*call[:2], {"prompt": "b"}, call[3]),
        (*call[:3], {"directory": "/in"}),
    ]
    assert len({fingerprint(*each) for each in (call, *changed)}) == 5
