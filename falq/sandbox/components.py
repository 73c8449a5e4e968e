"""The component schemas that the sandbox's models share."""

from __future__ import annotations

from falq.sandbox.schema import (
    Schema,
    find_refs,
    integer,
    listing,
    nullable,
    number,
    object_schema,
    text,
)


def shared_components() -> dict[str, Schema]:
    """Build every shared component by name."""
    return {
        "ImageSize": _image_size(),
        "Image": _image(),
        "File": _file(),
        "LoraWeight": _lora_weight(),
        "TranscriptChunk": _transcript_chunk(),
        "Keyframe": _keyframe(),
        "Track": _track(),
        "ChatUsage": _chat_usage(),
    }


def needed_components(*schemas: Schema) -> dict[str, Schema]:
    """Collect the components that schemas reach, directly or through each other."""
    shared, found = shared_components(), dict[str, Schema]()
    open_names = [name for schema in schemas for name in find_refs(schema)]
    while open_names:
        name = open_names.pop()
        if name not in found:
            found[name] = shared[name]
            open_names.extend(find_refs(shared[name]))
    return found


def _image_size() -> Schema:
    side = {"exclusiveMinimum": 0, "maximum": 14142, "default": 512}
    width = integer("The width of the generated image.", **side)
    height = integer("The height of the generated image.", **side)
    return object_schema("ImageSize", {"width": width, "height": height})


def _image() -> Schema:
    properties = {
        "url": text("The address of the image."),
        "width": integer("The width in pixels."),
        "height": integer("The height in pixels."),
        "content_type": nullable(text("The MIME type.", default="image/jpeg")),
    }
    return object_schema("Image", properties, ["url", "width", "height"])


def _file() -> Schema:
    properties = {
        "url": text("The URL where the file can be downloaded from."),
        "content_type": nullable(text("The MIME type of the file.", examples=["image/png"])),
        "file_name": nullable(text("The name of the file.", examples=["z9RV14K95DvU.png"])),
        "file_size": nullable(integer("The size of the file in bytes.", examples=[4404019])),
    }
    return object_schema("File", properties, ["url"])


def _lora_weight() -> Schema:
    scale = number("How strongly the weights act.", minimum=0, maximum=4, default=1)
    path = text("URL or path of the LoRA weights.")
    return object_schema("LoraWeight", {"path": path, "scale": scale}, ["path"])


def _transcript_chunk() -> Schema:
    span = listing("Start and end in seconds.", {"type": "number"}, minItems=2, maxItems=2)
    properties = {"timestamp": span, "text": text("What was said in that time.")}
    return object_schema("TranscriptChunk", properties, ["timestamp", "text"])


def _keyframe() -> Schema:
    properties = {
        "timestamp": number("When it appears, in milliseconds.", minimum=0),
        "duration": number("How long it stays, in milliseconds.", exclusiveMinimum=0),
        "url": text("The address of the media."),
    }
    return object_schema("Keyframe", properties, ["timestamp", "duration", "url"])


def _track() -> Schema:
    frames = listing("What is shown on this track.", {"$ref": "#/components/schemas/Keyframe"})
    properties = {
        "id": text("The track's name."),
        "type": text("What the track holds, such as video or audio."),
        "keyframes": frames,
    }
    return object_schema("Track", properties, ["id", "type", "keyframes"])


def _chat_usage() -> Schema:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    properties = {name: integer(f"Number of {name.replace('_', ' ')}.") for name in names}
    return object_schema("ChatUsage", properties, names)
