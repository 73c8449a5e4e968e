"""What bytes are."""

import io
import json
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from falq.files.content import contradiction, settle, sniff


def picture(kind):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, kind)
    return stream.getvalue()


def sound():
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(100))
    return stream.getvalue()


def safetensors():
    head = json.dumps({"w": {"dtype": "F32"}}).encode()
    return struct.pack("<Q", len(head)) + head


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (picture("PNG"), "png"),
        (picture("JPEG"), "jpg"),
        (picture("GIF"), "gif"),
        (picture("WEBP"), "webp"),
        (picture("BMP"), "bmp"),
        (picture("TIFF"), "tiff"),
        (sound(), "wav"),
        (b"ID3\4\0", "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"\0\0\0\x20ftypqt  ", "mov"),
        (b"\0\0\0\x20ftypavif", "avif"),
        (b"\x1a\x45\xdf\xa3" + b"\x42\x82\x84webm", "webm"),
        (b"\x1a\x45\xdf\xa3" + b"\x42\x82\x88matroska", "mkv"),
        (b"OggS" + bytes(24) + b"\x01vorbis", "ogg"),
        (b"OggS" + bytes(24) + b"OpusHead", "opus"),
        (b"fLaC\0", "flac"),
        (b"glTF\2\0\0\0", "glb"),
        (b"PK\3\4\x14\0", "zip"),
        (b"%PDF-1.7", "pdf"),
        (safetensors(), "safetensors"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "svg"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "svg"),
        (b"<!DOCTYPE html><html>", "html"),
        (b'{"a": 1}', "json"),
        ("Grüße".encode(), "txt"),
        (b"\x7fELF\2\1", "exe"),
    ],
)
def test_bytes_tell_what_they_are(head, extension):
    assert sniff(head).extension == extension


@given(st.binary(max_size=1024), st.text(max_size=20), st.text(max_size=8))
def test_any_bytes_under_any_name_settle_to_a_plain_extension(head, announced, suffix):
    extension = settle(head, announced, suffix).extension
    assert extension.isalnum()
    assert extension.isascii()


@pytest.mark.parametrize(
    ("head", "announced", "suffix", "extension"),
    [
        (b"\xff\xd8\xff\xe0", "image/png", "png", "jpg"),
        (b"\x00\x01\x02", "image/png", "", "png"),
        (b"\x00\x01\x02", "application/octet-stream", "glb", "glb"),
        (b"\x00\x01\x02", None, "../../x", "bin"),
        (b"PK\3\4", "model/vnd.usdz+zip", "usdz", "usdz"),
        (b"PK\3\4", "image/png", "png", "zip"),
        (b"1\n00:00:01 --> 00:00:02\nhi", "application/x-subrip", "", "srt"),
        (b"v 0 0 0\nf 1 2 3", None, "obj", "obj"),
        (b'{"asset": {}}', "model/gltf+json", "", "gltf"),
        (b"plain", "text/plain", "", "txt"),
        (b"", "text/plain", "", "txt"),
        (b"\x89PNG\r\n\x1a\n", "text/plain", "jpeg", "png"),
    ],
)
def test_bytes_decide_before_the_announced_type_before_the_suffix(
    head, announced, suffix, extension
):
    assert settle(head, announced, suffix).extension == extension


PAGE, DENIED, ERROR = b"<!doctype html><title>x", b"Access denied", b'{"detail": "no"}'
PDF, ZIP, GZ = b"%PDF-1.7", b"PK\3\4", b"\x1f\x8b\x08"


@pytest.mark.parametrize("announced", ["image/png", "video/mp4", "audio/mpeg", "image/odd"])
@pytest.mark.parametrize(
    "head",
    [PAGE, b"<html>", ERROR, DENIED, PDF, ZIP, GZ, b"\x7fELF", b"#!/bin/sh", b"<div><svg/></div>"],
)
def test_pages_texts_archives_and_programs_are_no_media(head, announced):
    assert contradiction(head, announced)


@pytest.mark.parametrize(
    ("head", "announced"),
    [
        (PAGE, "model/gltf-binary"),
        (b"<Error/>", "model/gltf-binary"),
        (b"\x7fELF", "model/obj"),
        (DENIED, "model/gltf-binary"),
        (ERROR, "model/gltf-binary"),
        (PAGE, "application/x-safetensors"),
        (ERROR, "application/x-safetensors"),
        (PAGE, "application/zip"),
        (PAGE, "application/json"),
        (PAGE, "image/svg+xml"),
        (DENIED, "image/svg+xml"),
        (b"<html><svg></svg></html>", "image/svg+xml"),
    ],
)
def test_a_page_or_an_error_is_no_mesh_no_weights_and_no_drawing(head, announced):
    assert contradiction(head, announced)


@pytest.mark.parametrize(
    ("head", "announced"),
    [
        (b"\xff\xd8\xff", "image/png"),
        (b"\x00\x01\x02", "image/png"),
        (b"<svg/>", "image/svg+xml"),
        (b"<svg/>", "image/png"),
        (b'<?xml version="1.0"?><?xml-stylesheet href="a"?><svg:svg/>', "image/svg+xml"),
        (b"<?xml version='1.0'?><!-- " + b"x" * 990, "image/svg+xml"),
        (b"<!-- " + b"x" * 990, "image/svg+xml"),
        (GZ, "image/svg+xml"),
        (b'{"a": 1}', "application/json"),
        (b"a,b", "application/json"),
        (b"<html>", "text/html"),
        (b"<html>", "text/plain"),
        (b"<html>", "application/octet-stream"),
        (b"GIF89a", "video/mp4"),
        (b"P3\n1 1\n255\n", "image/x-portable-pixmap"),
        (b"#EXTM3U", "audio/x-mpegurl"),
        (b"export const a = 1", "video/mp2t"),
        (b"{", None),
        (b"v 0 0 0", "model/obj"),
        (b"solid cube", "model/stl"),
        (b"v 0 0 0", "model/gltf-binary"),
        (b'{"accessors": []}', "model/gltf-binary"),
        (b'{"asset": {}}', "model/gltf+json"),
        (b"<COLLADA/>", "model/vnd.collada+xml"),
        (ZIP, "model/vnd.usdz+zip"),
        (ZIP, "model/obj"),
        (ZIP, "application/zip"),
        (ZIP, "application/json"),
        (PDF, "application/pdf"),
        (b"1\n00:00:01", "application/x-subrip"),
    ],
)
def test_other_media_unknown_bytes_and_what_was_announced_are_let_through(head, announced):
    assert contradiction(head, announced) is None
