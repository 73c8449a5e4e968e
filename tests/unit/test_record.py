import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from falq.record import JSON_FIELDS, JobRecord, json_text, read_record, write_fields

texts = st.text(st.characters(), max_size=20)
values_of_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
OF_TYPE = {
    "str": st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    "int": st.integers(0, 2**53),
    "float": st.floats(0, 1e12),
    "bool": st.booleans(),
}


def values_of(field: dataclasses.Field) -> st.SearchStrategy:
    if field.name in JSON_FIELDS:
        plain = values_of_json.filter(lambda value: value is not None)
        return plain if field.name == "result" else st.dictionaries(texts, values_of_json)
    return OF_TYPE[str(field.type).removesuffix(" | None")]


records = st.fixed_dictionaries(
    {}, optional={f.name: values_of(f) for f in dataclasses.fields(JobRecord) if f.name != "job_id"}
)


@given(records)
def test_what_is_written_is_read_again(values):
    stored = write_fields(values)
    record = read_record("j", {k: v.encode().decode() for k, v in stored.items()})
    assert {name: getattr(record, name) for name in values} == values


@given(values_of_json)
def test_any_json_can_be_kept_in_utf_8(value):
    assert json.loads(json_text(value).encode()) == value


def test_half_a_surrogate_pair_in_a_text_does_not_stop_a_record():
    (text,) = write_fields({"loss_message": "bad \ud800 text"}).values()
    assert text.encode() == b"bad ? text"


def test_an_empty_field_has_its_neutral_value():
    record = read_record("j", {f.name: "" for f in dataclasses.fields(JobRecord)})
    assert record == JobRecord(job_id="j")


def test_fields_of_a_newer_falq_are_left_alone():
    assert read_record("j", {"phase": "done", "mood": "good"}).phase == "done"


def test_the_id_of_a_record_is_that_of_its_key():
    assert read_record("j", {"job_id": "other"}).job_id == "j"


def test_a_job_may_be_known_to_fal_once_a_post_was_sent():
    assert not JobRecord(job_id="j").sent
    assert JobRecord(job_id="j", submits=1).sent
