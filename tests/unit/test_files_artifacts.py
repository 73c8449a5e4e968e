"""Where the files of a result are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.files.artifacts import SavedFile, find_artifacts, short_url, shown_url

PNG = "data:image/png;base64,iVBORw0KGgo="


def urls(result):
    return [artifact.url for artifact in find_artifacts(result)]


def fields(result):
    return [artifact.field for artifact in find_artifacts(result)]


def test_every_shape_of_fal_is_found_in_the_order_of_the_json():
    result = {
        "images": [{"url": "https://h/1.png"}, {"url": "https://h/2.png"}],
        "image": {"url": "https://h/3.png"},
        "video": {"url": "https://h/4.mp4", "thumbnail": {"url": "https://h/5.jpg"}},
        "audio_url": "https://h/6.mp3",
        "frame_urls": ["https://h/7.png"],
        "model_mesh": {"url": "https://h/8.glb"},
        "textures": ["https://h/9.png"],
        "outer": {"inner": [{"deep": {"video_url": "https://h/10.mp4"}}]},
        "seed": 7,
    }
    assert urls(result) == [f"https://h/{name}" for name in (
        "1.png", "2.png", "3.png", "4.mp4", "5.jpg", "6.mp3", "7.png", "8.glb", "9.png", "10.mp4"
    )]  # fmt: skip
    assert fields(result)[:2] == ["images[0]", "images[1]"]
    assert fields(result)[-1] == "outer.inner[0].deep.video_url"


def test_what_fal_says_about_a_file_is_kept_and_nonsense_is_not():
    (artifact,) = find_artifacts({"image": {
        "url": "https://h/a", "content_type": "Image/PNG; q=1", "file_name": "../x", "file_size": 5,
    }})  # fmt: skip
    assert (artifact.content_type, artifact.file_name, artifact.size) == ("image/png", "../x", 5)
    (odd,) = find_artifacts({"image": {
        "url": "https://h/a", "content_type": 5, "file_name": None, "file_size": True,
    }})  # fmt: skip
    assert (odd.content_type, odd.file_name, odd.size) == (None, None, None)


def test_the_same_url_twice_is_one_artifact():
    assert len(find_artifacts({"a_url": "https://h/x", "image": {"url": "https://h/x"}})) == 1


def test_a_data_uri_is_found_under_any_name():
    assert urls({"whatever": PNG}) == [PNG]


def test_old_file_data_becomes_a_data_uri():
    assert urls({"file": {"file_data": "aGk=", "content_type": "text/plain"}}) == [
        "data:text/plain;base64,aGk="
    ]


def test_addresses_that_are_no_files_of_the_result_are_left_alone():
    assert not urls({
        "status_url": "https://queue.fal.run/x",
        "output": "see https://example.com/ for more",
        "citations": [{"url": "https://example.com/"}],
        "title": "https://example.com/",
        "code": "https://example.com/a.ts",
        "page": "https://example.com/a.html",
        "text": "https://example.com/a.png is a picture",
        "license_url": "https://example.com/a.png",
    })  # fmt: skip


@pytest.mark.parametrize("url", ["a.png", "//h/a.png", "https:127.0.0.1:9955", "h/a.png"])
def test_a_file_whose_url_is_unusable_is_found_so_that_it_is_missed_aloud(url):
    assert urls({"images": [{"url": url}]}) == [url]
    assert urls({"image": {"url": ""}}) == []


@pytest.mark.parametrize(
    "result",
    [
        {"model_urls": {"glb": "https://h/a"}},
        {"output": "https://h/a.mp4"},
        {"outputs": ["https://h/a.png?X-Signature=s"]},
        {"result": {"anything": "https://h/a.GLB"}},
        {"outputs": ["https://v3.fal.media/files/a/b"]},
        {"weights": "https://h/a.safetensors"},
    ],
)
def test_plain_addresses_of_files_are_found(result):
    assert len(urls(result)) == 1


def test_what_a_model_repeats_of_its_input_is_not_fetched():
    echoed = {"inputs": {"image_url": "https://h/in.png"}}
    assert urls(echoed | {"image": {"url": "https://h/out.png"}}) == ["https://h/out.png"]
    assert urls({"input": {"image": {"url": "https://h/only.png"}}}) == ["https://h/only.png"]


def test_a_file_url_is_found_so_that_it_is_refused_aloud():
    assert urls({"image": {"url": "file:///etc/passwd"}}) == ["file:///etc/passwd"]


def test_json_nested_beyond_reason_does_no_harm():
    deep = leaf = {}
    for _ in range(5000):
        leaf["x"] = {}
        leaf = leaf["x"]
    assert find_artifacts(deep) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("https://h/x") | st.just(PNG),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["url", "image", "a_url", "x.y"]) | st.text(), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_json_at_all_breaks_the_search_and_no_url_comes_twice(result):
    found = urls(result)
    assert len(found) == len(set(found))


def test_messages_show_neither_signatures_nor_the_bytes_of_a_data_uri():
    assert "secret" not in shown_url("https://h/a.png?Signature=secret")
    assert "iVBOR" not in shown_url(PNG)
    assert short_url("https://h/a.png?Signature=s") == "https://h/a.png?Signature=s"


def test_a_saved_file_survives_its_journey_through_json():
    saved = SavedFile(path="/o/a.png", url=None, content_type="image/png", bytes=3, sha256="00")
    assert SavedFile.from_dict({**saved.to_dict(), "later": 1}) == saved
