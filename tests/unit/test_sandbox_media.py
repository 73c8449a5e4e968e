import io
import json
import struct
import wave

import pytest
from PIL import Image

from falq.sandbox import default_models
from falq.sandbox.media import CONTENT_TYPES, MediaSpec, render
from falq.sandbox.results import Work, make_output

MODELS = {model.model_id: model for model in default_models()}


def spec(kind, **more):
    given = {"model_id": "sandbox/flux/dev", "prompt": "a cat", "seed": 7, **more}
    return MediaSpec(kind=kind, **given)


def output(model_id, **arguments):
    work = Work(model=MODELS[model_id], arguments=arguments, origin="http://127.0.0.1:1")
    return make_output(work)


@pytest.mark.parametrize(("kind", "name"), [("png", "PNG"), ("jpeg", "JPEG"), ("gif", "GIF")])
def test_a_picture_has_the_asked_format_and_size(kind, name):
    with Image.open(io.BytesIO(render(spec(kind, width=320, height=200)))) as picture:
        picture.load()
        assert (picture.format, picture.size) == (name, (320, 200))


def test_a_film_has_several_frames_and_lasts_as_long_as_asked():
    with Image.open(io.BytesIO(render(spec("gif", width=160, height=90, seconds=5)))) as film:
        assert film.n_frames > 4
        assert film.n_frames * film.info["duration"] == pytest.approx(5000, rel=0.1)


def test_a_sound_can_be_heard():
    with wave.open(io.BytesIO(render(spec("wav", seconds=2)))) as sound:
        samples = struct.unpack(f"<{sound.getnframes()}h", sound.readframes(sound.getnframes()))
        assert sound.getnframes() / sound.getframerate() == pytest.approx(2)
    assert max(samples) > 8000


def test_a_mesh_is_binary_gltf_whose_lengths_agree():
    data = render(spec("glb"))
    magic, version, length = struct.unpack_from("<4sII", data)
    size, kind = struct.unpack_from("<I4s", data, 12)
    scene = json.loads(data[20 : 20 + size])
    binary, name = struct.unpack_from("<I4s", data, 20 + size)
    assert (magic, version, length, kind, name) == (b"glTF", 2, len(data), b"JSON", b"BIN\0")
    assert scene["buffers"][0]["byteLength"] <= binary
    assert scene["accessors"][1]["count"] == 36


def test_trained_weights_have_a_readable_safetensors_header():
    data = render(spec("safetensors"))
    size = struct.unpack_from("<Q", data)[0]
    tensor = json.loads(data[8 : 8 + size])["lora.weight"]
    assert tensor["data_offsets"][1] == len(data) - 8 - size


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_an_address_holds_all_that_its_file_needs(kind):
    asked = spec(kind, prompt='quotes " and ünï 漢字 \u202e', seconds=1.5)
    path = asked.to_path()
    assert MediaSpec.from_token(path.split("/")[2]) == asked
    assert path.isascii()
    assert len(path) < 2048


def test_a_foreign_token_is_refused():
    for token in ("", "AAAA", "W10", "WyJleGUiLDEsMiwzLDQsNSw2XQ"):
        with pytest.raises(ValueError):
            MediaSpec.from_token(token)


def test_equal_arguments_give_equal_files_and_another_seed_another_file():
    first, again = (output("sandbox/flux/dev", prompt="x") for _ in range(2))
    other = output("sandbox/flux/dev", prompt="x", seed=5)
    assert first == again
    assert first["images"] != other["images"]
    assert other["seed"] == 5


def test_number_and_size_of_images_are_honoured_and_capped():
    made = output("sandbox/flux/dev", prompt="x", num_images=3, image_size="portrait_16_9")
    assert [(i["width"], i["height"]) for i in made["images"]] == [(576, 1024)] * 3
    assert len({i["url"] for i in made["images"]}) == 3
    large = output("sandbox/flux/dev", prompt="x", image_size={"width": 4096, "height": 2048})
    assert (large["images"][0]["width"], large["images"][0]["height"]) == (1024, 512)


def test_sync_mode_gives_the_file_itself():
    made = output("sandbox/flux/dev", prompt="x", sync_mode=True, image_size="square")
    assert made["images"][0]["url"].startswith("data:image/png;base64,iVBOR")
