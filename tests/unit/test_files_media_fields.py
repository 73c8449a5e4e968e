"""Which arguments are local files."""

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
