"""What bytes are, told by their first kilobyte.

A table of our own: ``filetype`` and ``puremagic`` know neither GLB, safetensors, SVG nor JSON
(filetype 1.2.0, checked), which are half of what 3-D, training and speech models give.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

#: Bytes that :func:`sniff` wants to see; fewer when the file is shorter.
HEAD_BYTES = 1024
UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Content:
    """A kind of file: the extension that we give it and its content type."""

    extension: str
    content_type: str


_TABLE = """
png image/png | jpg image/jpeg | gif image/gif | webp image/webp | avif image/avif
heic image/heic | bmp image/bmp | tiff image/tiff | ico image/x-icon | jxl image/jxl
psd image/vnd.adobe.photoshop | exr image/x-exr | hdr image/vnd.radiance | svg image/svg+xml
mp4 video/mp4 | mov video/quicktime | webm video/webm | mkv video/x-matroska
avi video/x-msvideo | flv video/x-flv | mpg video/mpeg | ts video/mp2t
mp3 audio/mpeg | wav audio/wav | ogg audio/ogg | opus audio/opus | flac audio/flac
m4a audio/mp4 | aac audio/aac | aiff audio/aiff | mid audio/midi | amr audio/amr
glb model/gltf-binary | gltf model/gltf+json | obj model/obj | stl model/stl | ply model/ply
fbx application/x-fbx | usdz model/vnd.usdz+zip | 3mf model/3mf | splat model/splat
zip application/zip | gz application/gzip | 7z application/x-7z-compressed
tar application/x-tar | zst application/zstd | pdf application/pdf
safetensors application/x-safetensors | npy application/x-npy | npz application/x-npz
json application/json | txt text/plain | html text/html | xml application/xml
csv text/csv | srt application/x-subrip | vtt text/vtt | md text/markdown
yaml application/yaml | exe application/x-executable | woff2 font/woff2 | ttf font/ttf
"""
BY_EXTENSION = {
    pair.split()[0]: Content(*pair.split())
    for line in _TABLE.strip().splitlines()
    for pair in line.split("|")
}
_ALIASES = {
    "image/jpg": "jpg", "audio/x-wav": "wav", "audio/wave": "wav", "audio/vnd.wave": "wav",
    "audio/mp3": "mp3", "audio/x-flac": "flac", "audio/x-m4a": "m4a", "video/x-m4v": "mp4",
    "application/ogg": "ogg", "application/x-zip-compressed": "zip", "text/json": "json",
    "text/xml": "xml", "text/html": "html", "audio/webm": "webm", "model/x-ply": "ply",
    "application/x-gzip": "gz", "application/zstandard": "zst", "application/gltf+json": "gltf",
    "application/octet-stream+glb": "glb", "text/x-srt": "srt", "image/tif": "tiff",
}  # fmt: skip
BY_TYPE = {c.content_type: c for c in BY_EXTENSION.values()} | {
    alias: BY_EXTENSION[extension] for alias, extension in _ALIASES.items()
}
_SUFFIX_ALIASES = {"jpeg": "jpg", "jpe": "jpg", "tif": "tiff", "htm": "html", "m4v": "mp4"}

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF87a", "gif"),
    (b"GIF89a", "gif"), (b"II*\0", "tiff"), (b"MM\0*", "tiff"), (b"\0\0\1\0", "ico"),
    (b"\xff\x0a", "jxl"), (b"\0\0\0\x0cJXL ", "jxl"), (b"8BPS", "psd"),
    (b"v/1\1", "exr"), (b"#?RADIANCE", "hdr"), (b"FLV\1", "flv"), (b"\0\0\1\xba", "mpg"),
    (b"ID3", "mp3"), (b"fLaC", "flac"), (b"MThd", "mid"), (b"#!AMR", "amr"),
    (b"glTF", "glb"), (b"ply\n", "ply"), (b"ply\r\n", "ply"), (b"Kaydara FBX Binary", "fbx"),
    (b"PK\3\4", "zip"), (b"PK\5\6", "zip"), (b"\x1f\x8b\x08", "gz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"), (b"\x28\xb5\x2f\xfd", "zst"), (b"%PDF-", "pdf"),
    (b"\x93NUMPY", "npy"), (b"\x7fELF", "exe"), (b"#!/", "exe"), (b"wOF2", "woff2"),
    (b"\0\1\0\0\0", "ttf"),
)  # fmt: skip
_RIFF = {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}
_BRANDS = {
    b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heic",
    b"qt  ": "mov", b"M4A ": "m4a", b"M4B ": "m4a",
}  # fmt: skip
#: Text says little by itself: these are told apart by what was announced.
_TEXTS = frozenset({"txt", "json", "csv", "srt", "vtt", "md", "yaml", "obj", "gltf", "stl", "xml"})
#: A ZIP may be one of these when it is announced as one.
_ZIPS = frozenset({"usdz", "3mf", "npz"})
#: What an error page, a login page or an attack is.
_PAGES = frozenset({"html", "xml", "exe"})
#: What a refusal in few words or an error in JSON is.
_PLAIN = frozenset({"txt", "json"})
_ARCHIVES = frozenset({"pdf", "zip", "gz", "7z", "tar", "zst"})
#: Kinds that have a signature of bytes, beside pictures, sounds and films.
_WITHOUT_TEXT = _ARCHIVES | {"glb", "safetensors", "npy", "npz"}
#: Media types of texts and archives; servers guess the last one for TypeScript.
_LOOSE_MEDIA = frozenset({
    "image/x-portable-bitmap", "image/x-portable-graymap", "image/x-portable-pixmap",
    "image/x-portable-anymap", "image/x-xbitmap", "image/x-xpixmap", "image/vnd.dxf",
    "image/openraster", "audio/mpegurl", "audio/x-mpegurl", "audio/x-scpls", "video/mp2t",
})  # fmt: skip
#: How the text forms of meshes begin or what they hold: OBJ, STL, PLY, USD, glTF.
_MESH = re.compile(
    rb'^\s*(?:#|v |o |g |mtllib |solid|ply|OFF)|"(?:asset|accessors|buffers|meshes|scenes?)"'
)
_MARKUP = re.compile(
    r"^\s*(?:(?:<\?.*?\?>|<!--.*?-->)\s*)*<(!doctype\s+)?(\w+:)?(\w+)", re.IGNORECASE | re.DOTALL
)
_HTML = frozenset({"html", "head", "body", "title", "script"})


def sniff(head: bytes) -> Content | None:
    """Tell what a file is by its first ``HEAD_BYTES``; None when they say nothing.

    >>> sniff(bytes.fromhex("89504e470d0a1a0a")).extension
    'png'
    """
    extension = _binary(head) or _text(head)
    return BY_EXTENSION[extension] if extension else None


def settle(head: bytes, announced: str | None, suffix: str) -> Content:
    r"""Decide what a file is: by its bytes, else by the announced type, else by its URL's suffix.

    >>> settle(b"\xff\xd8\xff\xe0", "image/png", "png").extension
    'jpg'
    >>> settle(b"v 0 0 0", "application/octet-stream", "obj").extension
    'obj'
    >>> settle(bytes(8), None, "")
    Content(extension='bin', content_type='application/octet-stream')
    """
    hints = [hint for hint in (BY_TYPE.get(announced or ""), by_suffix(suffix)) if hint]
    found = sniff(head)
    if found is None:
        return hints[0] if hints else Content("bin", announced or UNKNOWN_TYPE)
    finer = {"zip": _ZIPS, "txt": None, "json": _TEXTS, "xml": _TEXTS}
    if found.extension not in finer:
        return found
    family = finer[found.extension]
    fitting = [hint for hint in hints if family is None or hint.extension in family]
    return fitting[0] if fitting else found


def by_suffix(suffix: str) -> Content | None:
    """Find the kind that a file name's suffix (without dot) stands for."""
    lower = suffix.lower()
    return BY_EXTENSION.get(_SUFFIX_ALIASES.get(lower, lower))


def contradiction(head: bytes, announced: str | None) -> str | None:
    """Say why bytes cannot be what was announced; None if they can.

    One media format in place of another is let through (the bytes decide the name), and so
    are bytes that nobody knows; web pages, error documents and programs are not, nor a text
    or an archive in place of a picture, sound or film.

    >>> contradiction(b"<!doctype html><title>Sign in", "image/png")
    'announced as image/png, but it is text/html'
    >>> contradiction(b"v 0 0 0", "model/obj")
    """
    found = sniff(head)
    if found is None or announced is None:
        return None
    if found.extension not in _never(announced) or _may_be_text(head, announced, found.extension):
        return None
    return f"announced as {announced}, but it is {found.content_type}"


def _never(announced: str) -> frozenset[str]:
    """Give the extensions of what cannot be meant by an announced type."""
    major, extension = announced.partition("/")[0], ""
    if announced in BY_TYPE:
        extension = BY_TYPE[announced].extension
    if announced in _LOOSE_MEDIA:
        return _PAGES | {"json"}
    if major in ("image", "video", "audio"):
        return _PAGES | _PLAIN | _ARCHIVES
    if extension in _WITHOUT_TEXT:
        return _PAGES | _PLAIN
    pages = _PAGES - {"xml"} if announced.endswith("+xml") else _PAGES
    return pages if major == "model" or extension == "json" else frozenset()


def _may_be_text(head: bytes, announced: str, found: str) -> bool:
    """Tell texts that some tools announce as their binary sisters, and pictures that are text."""
    if announced.startswith("image/svg"):
        return found in ("xml", "gz") or (found == "txt" and b"<" in head)
    return announced == "model/gltf-binary" and _MESH.search(head) is not None


def _binary(head: bytes) -> str | None:
    for start, extension in _STARTS:
        if head.startswith(start):
            return extension
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "mp4")
    return _container(head) or _odd(head)


def _container(head: bytes) -> str | None:
    if head[:4] == b"OggS":
        return "opus" if b"OpusHead" in head[:128] else "ogg"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm" if b"webm" in head[:64] else "mkv"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    return "tar" if head[257:262] == b"ustar" else None


def _odd(head: bytes) -> str | None:
    if head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa"):
        return "mp3"
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "aac"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "bmp"
    if head[:2] == b"MZ" and not head[:64].isascii():
        return "exe"
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return "ts"
    # Eight bytes of length, then a JSON object (the format's own specification).
    length = int.from_bytes(head[:8], "little")
    return "safetensors" if head[8:10] == b'{"' and 2 <= length < 1 << 27 else None


def _text(head: bytes) -> str | None:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    if not text or re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text):
        return None
    return _markup(text) or ("json" if text.lstrip()[:1] in ("{", "[") else "txt")


def _markup(text: str) -> str | None:
    tag = _MARKUP.match(text)
    if tag is None:
        return "xml" if text.lstrip().startswith("<?xml") else None
    name = tag[3].lower()
    if name == "svg":
        return "svg"
    return "html" if name in _HTML else "xml"
