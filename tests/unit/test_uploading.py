"""Which arguments of a call are local files, before anything is sent."""

import copy

import pytest

from falq.errors import ArgumentsError, MissingKeyError
from falq.settings import Settings
from falq.upload_fields import place_promised, promised_values
from falq.uploading import MemoryUploadCache, with_uploads

SCHEMA = {
    "type": "object",
    "properties": {
        "image_url": {"type": "string"},
        "frames": {"type": "array", "items": {"type": "string"}},
        "reference": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
    },
}


@pytest.fixture
def keyless(tmp_path):
    return Settings.from_env({"FALQ_HOME": str(tmp_path / "home")})


def uploaded(settings, arguments, *fields, schema=None):
    return with_uploads(settings, arguments, fields, schema, lambda _: None)


@pytest.mark.parametrize(
    ("fields", "schema", "values"),
    [
        (["image_url=a.png"], None, {"image_url": "a.png"}),
        (["image_urls=a.png"], None, {"image_urls": ["a.png"]}),
        (["pictures=a.png", "pictures=b.png"], None, {"pictures": ["a.png", "b.png"]}),
        (["frames=a.png"], SCHEMA, {"frames": ["a.png"]}),
        (["reference=a.png", "reference=b.png"], SCHEMA, {"reference": ["a.png", "b.png"]}),
        (["image_url=a=b.png"], SCHEMA, {"image_url": "a=b.png"}),
    ],
)
def test_a_field_gets_a_path_or_a_list_of_them_as_its_schema_says(fields, schema, values):
    assert promised_values(fields, schema) == values


@pytest.mark.parametrize("field", ["image_url", "=a.png", "image_url=", ""])
def test_an_upload_field_is_name_and_path(field):
    with pytest.raises(ArgumentsError, match="expected NAME=PATH"):
        promised_values([field], None)


def test_a_field_for_one_file_takes_no_two():
    with pytest.raises(ArgumentsError, match="given 2 times"):
        promised_values(["image_url=a.png", "image_url=b.png"], SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "field", "schema"),
    [
        ({}, "image_urll=a.png", None),
        ({}, "imge_url=a.png", None),
        ({}, "prompt=a.png", None),
        ({}, "image_urll=a.png", SCHEMA),
        ({}, "seed=a.png", SCHEMA),
        ({}, "loras[0].path=a.bin", None),
        ({"loras": [{}]}, "loras[1].path=a.bin", None),
        ({"loras": [{}]}, "loras.path=a.bin", None),
        ({"loras": "x"}, "loras[0]=a.bin", None),
        ({}, "a b=a.png", None),
        ({}, "image_url[=a.png", None),
    ],
)
def test_a_name_that_no_model_has_is_refused_before_anything_is_sent(arguments, field, schema):
    with pytest.raises(ArgumentsError, match="--upload-field"):
        place_promised(arguments, [field], schema)


@pytest.mark.parametrize(
    ("arguments", "field", "keys"),
    [
        ({}, "image_url=f", ("image_url",)),
        ({}, "controlImage2=f", ("controlImage2",)),
        ({}, "image_urls=f", ("image_urls", 0)),
        ({"weird": ""}, "weird=f", ("weird",)),
        ({"loras": [{"path": "u/a"}]}, "loras[0].path=f", ("loras", 0, "path")),
        ({"elements": {}}, "elements.front=f", ("elements", "front")),
        ({"images": ["x", "y"]}, "images[1]=f", ("images", 1)),
    ],
)
def test_a_field_may_lie_within_the_arguments(arguments, field, keys):
    before = copy.deepcopy(arguments)
    placed, found = place_promised(arguments, [field], None)
    assert found == {keys: "f"}
    for key in keys:
        placed = placed[key]
    assert placed == "f"
    assert arguments == before


def test_arguments_without_local_files_need_no_key(keyless):
    arguments = {"prompt": "a", "image_url": "https://h/a.png", "mask_url": "data:image/png,x"}
    assert uploaded(keyless, arguments) == arguments


@pytest.mark.parametrize("value", ["missing.png", "iVBORw0KGgo" * 2000, "~nobody-at-all/a.png"])
def test_a_media_field_that_is_neither_file_nor_address_is_refused_in_few_words(keyless, value):
    with pytest.raises(ArgumentsError) as caught:
        uploaded(keyless, {"image_url": value})
    assert "image_url" in caught.value.message
    assert len(caught.value.message) < 300


def test_what_is_wrong_with_a_file_is_said_before_a_key_is_asked_for(keyless, tmp_path):
    good, empty = tmp_path / "good.png", tmp_path / "empty.png"
    good.write_bytes(b"\x89PNG")
    empty.touch()
    with pytest.raises(ArgumentsError, match="empty"):
        uploaded(keyless, {"image_url": str(good)}, f"mask_url={empty}")
    with pytest.raises(MissingKeyError):
        uploaded(keyless, {"image_url": str(good)})


def test_the_flag_wins_over_the_argument_of_its_name(keyless, tmp_path):
    with pytest.raises(ArgumentsError, match=r"directory"):
        uploaded(keyless, {"image_url": "missing.png"}, f"image_url={tmp_path}")


def test_a_call_of_its_own_remembers_what_it_sent():
    cache = MemoryUploadCache()
    assert cache.get("k") is None
    cache.put("k", "https://h/k")
    assert cache.get("k") == "https://h/k"
