"""YAML of ours says what it was made from."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from generator.untrusted import has_invisible
from generator.yaml_text import yaml_text

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "on",
        "1e3",
        "\u2028",
        "- a",
        "a: b",
        "{{ x }}",
        "\x85",
        "\ufeff",
        "k" * 2000,
        "-" * 2000,
        "~",
        "",
        "!!x",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_what_is_written_reads_back_the_same_and_is_all_visible(value):
    text = yaml_text(value)
    assert yaml.safe_load(text) == value
    assert not has_invisible(text)
