"""Sounds, meshes, weights and data files, each valid in its format."""

from __future__ import annotations

import array
import io
import itertools
import json
import math
import struct
import sys
import wave
from collections.abc import Callable, Mapping

from falq.sandbox.media import MediaSpec

_RATE_HZ = 16_000
_NOTE_S = 0.25
#: Semitones of a pentatonic scale: any order of them sounds like a tune.
_SCALE = (0, 2, 4, 7, 9, 12)
_MAX_SOUND_S = 10.0


def wav(spec: MediaSpec) -> bytes:
    """Play one tone for each quarter of a second, chosen by prompt and seed."""
    length = max(_NOTE_S, min(spec.seconds, _MAX_SOUND_S))
    letters = spec.prompt.encode() or b"falq"
    samples = array.array("h")
    for step in range(math.ceil(length / _NOTE_S)):
        samples.extend(_note(_SCALE[(letters[step % len(letters)] + spec.seed) % len(_SCALE)]))
    if sys.byteorder == "big":
        samples.byteswap()
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setparams((1, 2, _RATE_HZ, 0, "NONE", "not compressed"))
        sound.writeframes(samples.tobytes())
    return buffer.getvalue()


def _note(semitones: int) -> list[int]:
    turn = 2 * math.pi * 261.63 * 2 ** (semitones / 12) / _RATE_HZ
    count = int(_RATE_HZ * _NOTE_S)
    return [
        int(12_000 * math.sin(turn * at) * min(1.0, 8 * (1 - at / count))) for at in range(count)
    ]


def glb(spec: MediaSpec) -> bytes:
    """Write a cube as glTF 2.0 binary, coloured by the seed."""
    corners = list(itertools.product((-0.5, 0.5), repeat=3))
    faces = (0, 1, 3, 2, 4, 6, 7, 5, 0, 4, 5, 1, 2, 3, 7, 6, 0, 2, 6, 4, 1, 5, 7, 3)
    quads = [faces[at : at + 4] for at in range(0, len(faces), 4)]
    indices = [corner for a, b, c, d in quads for corner in (a, b, c, a, c, d)]
    points = struct.pack("<24f", *itertools.chain.from_iterable(corners))
    binary = points + struct.pack(f"<{len(indices)}H", *indices)
    scene = json.dumps(_scene(spec, len(points), len(indices)), separators=(",", ":")).encode()
    body = _chunk(b"JSON", scene, b" ") + _chunk(b"BIN\0", binary, b"\0")
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def _chunk(kind: bytes, data: bytes, pad: bytes) -> bytes:
    padded = data + pad * (-len(data) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded


def _scene(spec: MediaSpec, points_bytes: int, index_count: int) -> dict[str, object]:
    colour = [(spec.seed >> shift & 255) / 255 for shift in (0, 8, 16)]
    indices_bytes = index_count * 2
    return {
        "asset": {"version": "2.0", "generator": "falq sandbox", "extras": {"prompt": spec.prompt}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "cube"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [*colour, 1.0]}}],
        "buffers": [{"byteLength": points_bytes + indices_bytes}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": points_bytes, "target": 34962},
            {"buffer": 0, "byteOffset": points_bytes, "byteLength": indices_bytes, "target": 34963},
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": points_bytes // 12,
                "type": "VEC3",
                "min": [-0.5] * 3,
                "max": [0.5] * 3,
            },
            {"bufferView": 1, "componentType": 5123, "count": index_count, "type": "SCALAR"},
        ],
    }


def safetensors(spec: MediaSpec) -> bytes:
    """Write one small tensor in the safetensors format."""
    values = struct.pack("<4f", *(((spec.seed >> at) & 15) / 16 for at in range(4)))
    header = {
        "__metadata__": {"made_by": "falq sandbox", "model_id": spec.model_id},
        "lora.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, len(values)]},
    }
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + values


def data(spec: MediaSpec) -> bytes:
    """Write a small JSON file."""
    return json.dumps(
        {"made_by": "falq sandbox", "model_id": spec.model_id, "prompt": spec.prompt}
    ).encode()


MAKERS: Mapping[str, Callable[[MediaSpec], bytes]] = {
    "wav": wav,
    "glb": glb,
    "safetensors": safetensors,
    "json": data,
}
