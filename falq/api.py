"""One call from Python: through the queue, or directly where that is wanted or all there is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falq import call_values, outcome
from falq.calling import Caller, CallRequest, new_job_id
from falq.delivery import Delivery, handed_over
from falq.direct_call import call_directly, fetch_directly, resume_abandoned
from falq.errors import UsageError, concerning
from falq.fetching import may_be_there, salvage, settle
from falq.files.spec import OutputSpec
from falq.meeting import part_ways, remove_nonce
from falq.model_id import parse_model_id
from falq.phases import TERMINAL, Phase
from falq.queue_config import QueueConfig, load_queue_config
from falq.queued_call import (
    QueuedCall,
    deliver,
    hand_out,
    nonce_in,
    open_caller,
    through_queue,
)
from falq.settings import Settings
from falq.uploading import with_uploads

if TYPE_CHECKING:
    from falq.record import JobRecord

OnEvent = Callable[[Mapping[str, Any]], None]
Upload = Callable[[dict[str, Any]], dict[str, Any]]


def run_fal_api_job(
    model_id: str,
    submit_args: dict[str, Any],
    output_dir: str | os.PathLike[str] = "./output",
    *,
    output_file: str | None = None,
    auto_filename: bool = False,
    poll_interval: float | None = None,
    max_polls: int | None = None,
    save_logs: bool = False,
    save_logs_inline: bool = False,
    no_sidecar: bool = False,
    upload_fields: Sequence[str] = (),
    no_queue: bool = False,
    sync_only: bool | None = None,
    queue_config: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    idempotency_key: str | None = None,
    fresh: bool = False,
    priority: str = "normal",
    wait: float | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Make one call and wait for its files. Costs money; is never paid twice.

    A call that was killed while it waited attaches to its job when it is repeated.

    Args:
        model_id: Such as ``fal-ai/flux/schnell``.
        submit_args: The model's arguments; local files in media fields are uploaded first.
        output_dir: Created when missing.
        output_file: Name inside ``output_dir``.
        auto_filename: Name files ``{request_id}_{timestamp}.{ext}``.
        poll_interval: Seconds between status polls, fixed.
        max_polls: Status polls at most.
        save_logs: Save the model's logs to ``{output_dir}/logs/``.
        save_logs_inline: Save them beside the output.
        no_sidecar: Write no ``<file>.json`` beside each file.
        upload_fields: ``NAME=PATH`` each: upload a file and give its address to a field.
        no_queue: Call fal from this process; limits do not apply. Not with an idempotency key.
        sync_only: Use fal's sync API; None takes the queue's setting.
        queue_config: A ``queue_config.yaml``.
        api_key: Deprecated, see FAL_ALLOW_API_KEY_ARG.
        idempotency_key: One job per key for 24 h.
        fresh: Never attach to an equal earlier call.
        priority: ``high``, ``normal`` or ``low``.
        wait: Give a ticket after so many seconds.
        on_event: Is told what happens meanwhile.

    Returns:
        The outcome of design 1.4: ``status``, ``saved_path``, ``files``, ``result`` …

    Raises:
        FalqError: What went wrong, with ``exit_code``, ``hint``, ``retryable`` and
            ``may_be_billed``.
    """
    settings = Settings.from_env(os.environ, api_key=api_key)
    path = Path(queue_config) if queue_config is not None else None
    config = load_queue_config(path, settings.queue_overrides, lambda _: None)
    request = CallRequest(
        model_id=parse_model_id(call_values.some_text("model_id", model_id, "owner/name")),
        arguments=checked_arguments(submit_args),
        output=OutputSpec(
            directory=_directory(output_dir),
            output_file=call_values.output_file("output_file", output_file),
            auto_filename=auto_filename,
            sidecar=not no_sidecar,
            save_logs=save_logs,
            save_logs_inline=save_logs_inline,
        ),
        config=config,
        sync=choose_sync(config, call_values.sync_only("sync_only", sync_only), no_queue=no_queue),
        priority=call_values.priority("priority", priority),
        fresh=fresh,
        idempotency_key=call_values.idempotency_key("idempotency_key", idempotency_key),
        fixed_poll_s=call_values.poll_interval("poll_interval", poll_interval),
        max_polls=call_values.max_polls("max_polls", max_polls),
    )
    wait_s = call_values.wait("wait", wait)
    tell = on_event or (lambda _: None)

    def upload(arguments: dict[str, Any]) -> dict[str, Any]:
        return with_uploads(settings, arguments, upload_fields, None, tell, fresh=fresh)

    def run(delivery: Delivery) -> dict[str, Any]:
        return perform(
            settings,
            request,
            delivery,
            no_queue=no_queue,
            wait_s=wait_s,
            upload=upload,
            on_event=on_event,
        )

    with concerning(model_id=request.model_id):
        return handed_over(run)


def _directory(value: Any) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return str(Path(call_values.some_text("output_dir", text, "a directory")).absolute())


def checked_arguments(arguments: Any) -> dict[str, Any]:
    """Refuse arguments that are no JSON object."""
    import json

    try:
        copied = json.loads(json.dumps(arguments, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the arguments are no JSON: {error}", "nothing was sent") from error
    if not isinstance(copied, dict):
        kind = type(arguments).__name__
        raise UsageError(f"the arguments are {kind}: expected a JSON object", "nothing was sent")
    call_values.whole_characters("the arguments", copied)
    return copied


def choose_sync(config: QueueConfig, sync_only: bool | None, *, no_queue: bool) -> bool:
    """Tell whether a call runs through fal's sync API.

    ``--no-queue`` is the seed's direct flow of submit, status and result, whatever the
    queue's own setting says.
    """
    if sync_only is not None:
        return sync_only
    return config.sync_only and not no_queue


def perform(
    settings: Settings,
    request: CallRequest,
    delivery: Delivery,
    *,
    no_queue: bool = False,
    wait_s: float | None = None,
    upload: Upload | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Make a call and give its outcome, or a ticket when ``wait_s`` is over first.

    Args:
        settings: Key and queue.
        request: The call.
        delivery: Is to be told when the caller has the outcome, or the error.
        no_queue: From this process.
        wait_s: None waits for the end.
        upload: Puts addresses in place of local files; called when the place for the output
            is known to be good, and before anything is enqueued or sent.
        on_event: Is told what happens meanwhile.

    Raises:
        FalqError: What went wrong.
    """
    if no_queue and request.idempotency_key is not None:
        raise UsageError(
            "--idempotency-key does not fit --no-queue: the queue alone knows all callers' keys",
            "nothing was sent; leave one of them out",
        )
    request = dataclasses.replace(request, output=prepare_output(request.output))
    if upload is not None:
        request = dataclasses.replace(request, arguments=upload(request.arguments))
    tell = on_event or (lambda _: None)
    if no_queue:
        settings.require_key()
        return call_directly(settings, request, new_job_id(), tell, delivery)
    if request.idempotency_key is None:
        resumed = resume_abandoned(settings, request, tell, delivery)
        if resumed is not None:
            return resumed
    return through_queue(QueuedCall(settings, request, wait_s, tell, delivery))


def prepare_output(output: OutputSpec) -> OutputSpec:
    """Make the output directory and check ``-O``, before anything is sent.

    Raises:
        UsageError: It cannot be written, or ``-O`` leads outside.
    """
    from falq.files.output import check_output_file, ensure_writable

    resolved = output.resolved(str(Path.cwd()))
    ensure_writable(resolved.directory)
    if resolved.output_file is not None:
        check_output_file(resolved.directory, resolved.output_file)
    return resolved


def attend(
    settings: Settings,
    job_id: str,
    delivery: Delivery,
    *,
    wait_s: float | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Wait for a job from wherever one is, and give its outcome or a ticket.

    Raises:
        FalqError: There is no such job, or it failed.
    """
    with open_caller(settings) as caller:
        record = caller.wait(job_id, wait_s=wait_s, on_event=on_event)
        if record.phase not in TERMINAL | {Phase.UNKNOWN}:
            caller.leave(job_id)
            position = caller.position(record)
            return outcome.ticket(job_id, record.phase, record.request_id, position)
        output = OutputSpec.of(record.options)
        return hand_out(
            caller, record, delivery, lambda: settle(settings, record, output, on_event)
        )


def fetch_result(
    settings: Settings,
    job_id: str,
    delivery: Delivery,
    output_dir: str | None = None,
    *,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Fetch a job's result and files without a new call.

    A job that is under way is waited for. One that fal may still have (timeout, unknown
    outcome, result endpoint that refused) is asked for once more, by its request_id or in
    fal's history; days later, too. That is a worker's work, but for direct calls.

    Raises:
        FalqError: There is no such job, it failed at fal, or a file could not be saved.
    """
    from falq.keeping import find_kept

    kept = find_kept(settings.home, job_id)
    if kept is not None:
        output, tell = _output_of(kept, output_dir), on_event or (lambda _: None)
        return fetch_directly(settings, kept, output, tell, delivery)
    with open_caller(settings, needs_key=False) as caller:
        record = caller.get(job_id)
        if record.phase not in TERMINAL | {Phase.UNKNOWN}:
            record = caller.wait(job_id, on_event=on_event, known=True)
        output = _output_of(record, output_dir)
        if record.result is None and may_be_there(record):
            record = _asked_again(caller, record, output, on_event)
        shown = salvage(settings, record, output, on_event)
        delivery.then(lambda: deliver(caller, job_id))
        part_ways(record.options)
        return shown


def _output_of(record: JobRecord, output_dir: str | None) -> OutputSpec:
    """Give where a job's files go: where its call said, or where somebody wants them now."""
    output = OutputSpec.of(record.options)
    if output_dir is None:
        return output
    changed = dataclasses.replace(output, directory=str(Path(output_dir).absolute()))
    return prepare_output(changed)


def _asked_again(
    caller: Caller, record: JobRecord, output: OutputSpec, on_event: OnEvent | None
) -> JobRecord:
    nonce = nonce_in(prepare_output(output).directory)
    try:
        caller.ask_again(record, output, nonce)
        return caller.wait(record.job_id, on_event=on_event, known=True)
    finally:
        remove_nonce(output.directory, nonce)
