"""``falq call`` and ``falq submit``; the wrappers come in through ``run_call``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from falq.cli.call_options import call_options, read_arguments, refuse_contradictions
from falq.cli.progress import Progress
from falq.cli.show import Voice, emit, show_error
from falq.delivery import Delivery
from falq.errors import FalqError, UsageError
from falq.model_id import parse_model_id

if TYPE_CHECKING:
    from falq.calling import CallRequest
    from falq.queue_config import QueueConfig

#: Exit code by the status of an outcome (design 1.4).
EXIT_CODES = {"COMPLETED": 0, "RESULT_ENDPOINT_ONLY": 6, "QUEUED": 75, "RUNNING": 75}
#: A second Ctrl-C within this time cancels, seconds.
SECOND_CTRL_C_S = 2.0

_MODEL = click.option("-m", "--model-id", required=True, help="fal.ai model id.")
_CONFIG = click.option(
    "--queue-config", type=click.Path(path_type=Path), metavar="FILE", help="A queue_config.yaml."
)


@click.command()
@_MODEL
@_CONFIG
@call_options
def call(model_id: str, queue_config: Path | None, **options: Any) -> int:
    """Make one call and save its files."""
    refuse_contradictions(options)
    arguments = read_arguments(options.pop("args"), options.pop("args_file"))
    return run_call(
        model_id=model_id, arguments=arguments, options=options, queue_config_path=queue_config
    )


@click.command()
@_MODEL
@_CONFIG
@call_options
def submit(model_id: str, queue_config: Path | None, **options: Any) -> int:
    """Enqueue a call and print its ticket; exit 0."""
    if options["no_queue"]:
        raise UsageError("falq submit puts a call into the queue: --no-queue does not fit")
    if options["wait_s"] is not None:
        raise UsageError("falq submit does not wait: --wait does not fit", "falq call --wait S")
    arguments = read_arguments(options.pop("args"), options.pop("args_file"))
    options["no_wait"] = True
    code = run_call(
        model_id=model_id, arguments=arguments, options=options, queue_config_path=queue_config
    )
    return 0 if code == EXIT_CODES["QUEUED"] else code


def run_call(
    *,
    model_id: str,
    arguments: dict[str, Any],
    options: dict[str, Any],
    skill: str = "falq",
    queue_config_path: Path | None = None,
    input_schema: dict[str, Any] | None = None,
) -> int:
    """Make a call as the command line asks, print its outcome, and give the exit code.

    Args:
        model_id: Which model.
        arguments: Checked against the model's schema where there is one.
        options: Parameters of ``call_options`` without ``args`` and ``args_file``.
        skill: Names the queue together with the model.
        queue_config_path: The skill's ``queue_config.yaml``.
        input_schema: Tells which fields take media, so that local paths are uploaded.
    """
    voice = Voice(quiet=options["quiet"])
    if options.get("api_key"):
        voice.warn("--api-key is deprecated: set FAL_KEY instead")
    progress = Progress(voice)
    state = _Running(progress)

    def run(delivery: Delivery) -> dict[str, Any]:
        with progress:
            return state.run(
                model_id, arguments, options, skill, queue_config_path, input_schema, delivery
            )

    try:
        return print_outcome(run)
    except KeyboardInterrupt:
        return _detach(state, voice)


def print_outcome(run: Callable[[Delivery], dict[str, Any]]) -> int:
    """Print what a job came to, and give the exit code; only what is printed is delivered.

    Raises:
        FalqError: There was no job that came to anything; ``falq.cli.main.run`` prints it.
    """
    delivery = Delivery()
    try:
        shown = run(delivery)
    except FalqError as error:
        if error.outcome is None:
            delivery.made()
            raise
        emit(error.outcome)
        delivery.made()
        return show_error(error)
    emit(shown)
    delivery.made()
    return EXIT_CODES.get(str(shown["status"]), 1)


def _request(
    model_id: str,
    arguments: dict[str, Any],
    options: dict[str, Any],
    skill: str,
    config: QueueConfig,
) -> CallRequest:
    """Make the call that options of the command line ask for."""
    from falq.api import choose_sync
    from falq.calling import CallRequest
    from falq.files.spec import OutputSpec

    return CallRequest(
        model_id=model_id,
        arguments=arguments,
        output=OutputSpec(
            directory=str(Path(options["output"]).absolute()),
            output_file=options["output_file"],
            auto_filename=options["auto_filename"],
            sidecar=not options["no_sidecar"],
            save_logs=options["save_logs"],
            save_logs_inline=options["save_logs_inline"],
        ),
        skill=skill,
        config=config,
        sync=choose_sync(config, options["sync_only"], no_queue=options["no_queue"]),
        priority=options["priority"],
        fresh=options["fresh"],
        idempotency_key=options["idempotency_key"],
        fixed_poll_s=options["poll_interval"],
        max_polls=options["max_polls"],
    )


class _Running:
    """A call under way: the id of its job as soon as there is one, and the phase last heard of."""

    def __init__(self, progress: Progress) -> None:
        self.job_id: str | None = None
        self.phase = "queued"
        self.direct = False
        self._progress = progress

    def _on_event(self, event: Any) -> None:
        self.job_id = event.get("job_id", self.job_id)
        self.phase = event.get("phase", self.phase)
        self.direct = event.get("direct", self.direct)
        self._progress(event)

    def run(
        self,
        model_id: str,
        arguments: dict[str, Any],
        options: dict[str, Any],
        skill: str,
        queue_config_path: Path | None,
        input_schema: dict[str, Any] | None,
        delivery: Delivery,
    ) -> dict[str, Any]:
        from falq.api import perform
        from falq.queue_config import load_queue_config
        from falq.settings import Settings
        from falq.uploading import with_uploads

        settings = Settings.from_env(os.environ, api_key=options.get("api_key"))
        config = load_queue_config(queue_config_path, settings.queue_overrides, self._warn)
        request = _request(parse_model_id(model_id), arguments, options, skill, config)
        wait_s = 0.0 if options["no_wait"] else options["wait_s"]
        upload = partial(
            with_uploads,
            settings,
            upload_fields=options["upload_field"],
            input_schema=input_schema,
            on_event=self._on_event,
            fresh=options["fresh"],
        )
        return perform(
            settings,
            request,
            delivery,
            no_queue=options["no_queue"],
            wait_s=wait_s,
            upload=upload,
            on_event=self._on_event,
        )

    def _warn(self, text: str) -> None:
        self._on_event({"warning": text})


def _detach(state: _Running, voice: Voice) -> int:
    """Leave a job to its worker, or to fal; a second Ctrl-C soon after cancels it."""
    from falq.cli.jobs import cancel_job, kept_ticket, ticket_of

    if state.job_id is None:
        voice.say("stopped before anything was known to be enqueued")
        return 130
    kept = kept_ticket(state.job_id)
    if state.direct and (kept is None or kept["status"] == "QUEUED"):
        voice.say("stopped; nothing is under way at fal")
        return 130
    if state.direct:
        said = f"stopped; what was sent goes on at fal: falq result {state.job_id} fetches it"
    else:
        said = f"detached; the job goes on: falq wait {state.job_id}"
    voice.say(f"{said}  (Ctrl-C again cancels it)")
    try:
        time.sleep(SECOND_CTRL_C_S)
    except KeyboardInterrupt:
        emit(cancel_job(state.job_id))
        return 130
    emit(kept or ticket_of(state.job_id, state.phase))
    return 130
