"""The sandbox's models that give pictures."""

from __future__ import annotations

from falq.sandbox.model import Model
from falq.sandbox.schema import (
    Schema,
    choice,
    flag,
    image_size,
    integer,
    listing,
    media_url,
    nullable,
    number,
    ref,
    text,
)

_KEEPER = "A lighthouse keeper reads a letter by lamplight, rain on the window behind him."


def picture_models() -> list[Model]:
    """List every model whose result is one image or several."""
    return [
        _flux("sandbox/flux/dev", "FLUX.1 [dev] (sandbox)", steps=28),
        _flux("sandbox/flux/schnell", "FLUX.1 [schnell] (sandbox)", steps=4, price=0.003),
        _flux("fal-ai/flux/dev", "FLUX.1 [dev] (sandbox stand-in)", steps=28),
        _flux("fal-ai/flux/schnell", "FLUX.1 [schnell] (sandbox stand-in)", steps=4, price=0.003),
        _flux_lora(),
        _image_to_image(),
        _upscaler(),
        _deprecated(),
        _undocumented(),
    ]


def image_inputs(steps: int) -> dict[str, Schema]:
    """Describe what fal's text-to-image models take."""
    return {
        "prompt": text("The prompt to generate an image from.", examples=[_KEEPER]),
        "image_size": image_size(),
        "num_inference_steps": integer(
            "The number of inference steps to perform.", minimum=1, maximum=50, default=steps
        ),
        "seed": nullable(integer("The same seed and prompt give the same image every time.")),
        "guidance_scale": number(
            "\n            How close the image sticks to the prompt.\n        ",
            minimum=1,
            maximum=20,
            default=3.5,
        ),
        "sync_mode": flag(
            "Whether the media come as data URIs inside the answer; the history keeps none then.",
            default=False,
        ),
        "num_images": integer("The number of images to generate.", minimum=1, maximum=4, default=1),
        "enable_safety_checker": flag("If set to true, unsafe images are refused.", default=True),
        "output_format": choice("The format of the generated image.", "jpeg", "png", default="png"),
        "acceleration": choice(
            "The speed of the generation.", "none", "regular", "high", default="none"
        ),
    }


def image_outputs() -> dict[str, Schema]:
    """Describe what fal's text-to-image models give back."""
    return {
        "images": listing("The pictures, in order.", ref("Image")),
        "timings": {"type": "object", "additionalProperties": {"type": "number"}},
        "seed": integer("Seed of the generated image."),
        "has_nsfw_concepts": listing("Whether an image is unsafe.", {"type": "boolean"}),
        "prompt": text("The prompt used for generating the image."),
    }


def _flux(model_id: str, name: str, *, steps: int, price: float = 0.025) -> Model:
    return Model(
        model_id=model_id,
        display_name=name,
        category="text-to-image",
        description="Local stand-in: a picture that shows the prompt. Nothing is paid.",
        maker="images",
        inputs=image_inputs(steps),
        outputs=image_outputs(),
        outputs_required=tuple(image_outputs()),
        unit="megapixel",
        unit_price=price,
    )


def _flux_lora() -> Model:
    loras = listing("The LoRAs to merge, in order.", ref("LoraWeight"), default=[], maxItems=4)
    return Model(
        model_id="sandbox/flux-lora",
        display_name="FLUX.1 with LoRAs (sandbox)",
        category="text-to-image",
        description="Text-to-image with a nested list of LoRA weights.",
        maker="images",
        inputs={**image_inputs(28), "loras": loras},
        outputs=image_outputs(),
        outputs_required=("images", "seed"),
        tags=("sandbox", "lora"),
    )


def _image_to_image() -> Model:
    strength = number("How far from the given image.", exclusiveMinimum=0, maximum=1, default=0.95)
    source = media_url("The image to start from.", "image", "cat.png")
    return Model(
        model_id="sandbox/flux/image-to-image",
        display_name="FLUX.1 image to image (sandbox)",
        category="image-to-image",
        description="Changes a picture by a prompt.",
        maker="images",
        inputs={"image_url": source, **image_inputs(40), "strength": strength},
        required=("prompt", "image_url"),
        outputs=image_outputs(),
        outputs_required=("images", "seed"),
        unit_price=0.03,
    )


def _upscaler() -> Model:
    limits = {"max_width": 4096, "max_height": 4096, "max_file_size": 20_971_520}
    source = {**media_url("The image to enlarge.", "image", "small.png"), "x-fal": limits}
    factor = number("How many times larger.", minimum=1, maximum=4, default=2)
    return Model(
        model_id="sandbox/clarity-upscaler",
        display_name="Clarity upscaler (sandbox)",
        category="image-to-image",
        description="Enlarges a picture.",
        maker="upscaled",
        inputs={"image_url": source, "upscale_factor": factor, "seed": image_inputs(1)["seed"]},
        required=("image_url",),
        outputs={"image": ref("Image"), "seed": integer("The seed.")},
        outputs_required=("image",),
        tags=("sandbox", "upscaling"),
        unit="megapixel",
    )


def _deprecated() -> Model:
    return Model(
        model_id="sandbox/deprecated-model",
        display_name="Deprecated (sandbox)",
        category="text-to-image",
        description="Kept for old callers only.",
        maker="images",
        inputs={"prompt": text("What to draw.", examples=["a lighthouse"])},
        outputs=image_outputs(),
        status="deprecated",
    )


def _undocumented() -> Model:
    return Model(
        model_id="sandbox/broken-schema",
        display_name="Broken schema (sandbox)",
        category="text-to-image",
        description="Runs, but its OpenAPI expansion fails.",
        maker="images",
        inputs={"prompt": text("What to draw.", examples=["a lighthouse"])},
        outputs=image_outputs(),
        documented=False,
    )
