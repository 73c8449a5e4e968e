"""How a request ends: with its output, fal's refusal, or a shape that a fault asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from falq.sandbox.faults import Fault
from falq.sandbox.paid_request import PaidRequest
from falq.sandbox.results import Output, Work, billable_units, data_uri, image, make_output
from falq.sandbox.validation import ArgumentChecker, content_policy

_METADATA_URL = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
_HOSTILE_NAMES = ("../../../escape.png", "/etc/cron.d/evil", "a\u0000b.png", "CON", "x" * 300)


def settle(request: PaidRequest, checker: ArgumentChecker) -> None:
    """Set a request's status code, output and units."""
    problems = checker.problems(request.arguments) or _scripted_problems(request)
    if problems:
        request.code, request.output = 422, {"detail": problems}
        return
    work = Work(
        model=request.model,
        arguments=request.arguments,
        origin=request.origin,
        query=_cdn_query(request),
    )
    output = make_output(work)
    request.units = billable_units(work, output)
    request.code, request.output = 200, _shaped(request, work, output)


def _scripted_problems(request: PaidRequest) -> list[dict[str, Any]]:
    if request.fault("content-policy"):
        return [content_policy(request.arguments.get("prompt"))]
    if request.fault("422"):
        words = "falq sandbox: this model refuses everything"
        return [{"loc": ["body"], "msg": words, "type": "value_error", "input": request.arguments}]
    return []


def _cdn_query(request: PaidRequest) -> str:
    wanted = next((fault for fault in request.faults if fault.acts_at("cdn")), None)
    return f"?{cdn_query(wanted)}" if wanted else ""


def cdn_query(fault: Fault) -> str:
    """Write a fault so that it can travel in the address of a file."""
    value = next(iter(fault.params.values()), "")
    return f"fault={quote(f'{fault.name}:{value}' if value else fault.name, safe='')}"


def _shaped(request: PaidRequest, work: Work, output: Output) -> Output:
    for fault in request.faults:
        if fault.name in SHAPES and request.fault(fault.name):
            return SHAPES[fault.name](work, fault)
    return output


def _data_uri(work: Work, _fault: Fault) -> Output:
    spec = work.spec("png", width=64, height=64)
    return {"images": [{"url": data_uri(spec), "width": 64, "height": 64}]}


def _audio_url(work: Work, _fault: Fault) -> Output:
    return {"audio_url": work.url(work.spec("wav")), "duration": 1.0}


def _nested(work: Work, _fault: Fault) -> Output:
    variants = [[{"deep": {"picture": image(work, at)}}] for at in range(2)]
    return {"data": {"variants": variants, "sound": {"audio_url": work.url(work.spec("wav"))}}}


def _eight_images(work: Work, _fault: Fault) -> Output:
    pictures = [image(work, at, (256, 256)) for at in range(8)]
    pictures[5]["url"] = pictures[5]["url"].partition("?")[0] + "?fault=cdn-404"
    return {"images": pictures, "seed": work.seed, "prompt": work.prompt}


def _hostile_name(work: Work, _fault: Fault) -> Output:
    pictures = [image(work, at, (64, 64)) for at in range(len(_HOSTILE_NAMES))]
    named = zip(pictures, _HOSTILE_NAMES, strict=True)
    return {"images": [{**picture, "file_name": name} for picture, name in named]}


def _file_url(_work: Work, _fault: Fault) -> Output:
    return {"images": [{"url": "file:///etc/passwd", "width": 1, "height": 1}]}


def _private_url(_work: Work, fault: Fault) -> Output:
    url = fault.params.get("url", _METADATA_URL)
    return {"images": [{"url": url, "width": 1, "height": 1, "content_type": "image/png"}]}


SHAPES: Mapping[str, Callable[[Work, Fault], Output]] = {
    "data-uri": _data_uri,
    "audio-url": _audio_url,
    "nested": _nested,
    "eight-images": _eight_images,
    "hostile-name": _hostile_name,
    "file-url": _file_url,
    "private-url": _private_url,
}
