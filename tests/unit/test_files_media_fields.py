"""Which arguments are local files."""

import pytest

from falq.files.media_fields import find_local, with_urls
from falq.schema.media import media_kind

HERE = {"cat.png", "song.mp3", "style.safetensors", "/abs/a.png"}


def found(arguments, properties=None):
    values = find_local(
        arguments, is_file=HERE.__contains__, media_kind=media_kind, properties=properties
    )
    return {value.field: (value.path, value.found) for value in values}


def test_local_paths_in_media_fields_are_found():
    assert found({
        "prompt": "cat.png",
        "image_url": "cat.png",
        "image_urls": ["https://h/x.png", "/abs/a.png"],
        "audio_url": "file:///abs/a.png",
        "video_url": "data:video/mp4;base64,AAAA",
        "loras": [{"path": "style.safetensors", "scale": 1}],
    }) == {
        "image_url": ("cat.png", True),
        "image_urls[1]": ("/abs/a.png", True),
        "audio_url": ("/abs/a.png", True),
        "loras[0].path": ("style.safetensors", True),
    }  # fmt: skip


def test_a_path_to_nothing_is_reported_where_only_an_address_or_a_file_fits():
    assert found({"image_url": "dog.png"}) == {"image_url": ("dog.png", False)}
    assert found({"loras": [{"path": "owner/repository"}]}) == {}


def test_the_schemas_hint_makes_a_media_field_of_any_name():
    properties = {"reference": {"ui": {"field": "image"}}}
    assert found({"reference": "cat.png"}, properties) == {"reference": ("cat.png", True)}
    assert found({"reference": "cat.png"}) == {}


def test_what_only_paths_look_like_counts_where_a_name_or_description_speaks_of_files():
    properties = {"still": {"description": "The URL of the first picture."}}
    assert found({
        "loras": [{"path": "./photo.png"}],
        "start_image": "./dog.png",
        "imageUrl": "cat.png",
        "image_url_1": "cat.png",
        "file": "cat.png",
        "still": "~/dog.png",
    }, properties) == {
        "loras[0].path": ("./photo.png", False),
        "start_image": ("./dog.png", False),
        "imageUrl": ("cat.png", True),
        "image_url_1": ("cat.png", True),
        "file": ("cat.png", True),
        "still": ("~/dog.png", False),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", "./photo.png"),
        ("prompt", "cat.png"),
        ("file_name", "cat.png"),
        ("output_file", "./cat.png"),
        ("voice", "Rachel"),
        ("path", "/imagine a cat"),
        ("mode", "cat.png"),
    ],
)
def test_words_and_names_of_files_to_come_are_no_paths(name, value):
    assert found({name: value}) == {}


def test_hints_deep_in_the_schema_count():
    properties = {
        "scenes": {"items": {"properties": {"still": {"ui": {"field": "image"}}}}},
    }
    assert found({"scenes": [{"still": "cat.png"}]}, properties) == {
        "scenes[0].still": ("cat.png", True)
    }


def test_urls_take_the_place_of_paths_in_a_copy():
    arguments = {"loras": [{"path": "a", "scale": 1}], "image_url": "b"}
    changed = with_urls(arguments, {("loras", 0, "path"): "https://h/a"})
    assert changed == {"loras": [{"path": "https://h/a", "scale": 1}], "image_url": "b"}
    assert arguments["loras"][0]["path"] == "a"
