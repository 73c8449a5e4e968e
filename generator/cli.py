"""The commands ``falq generate``, ``falq search``, ``falq schema`` and ``falq skill``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from falq.cli.show import Voice, as_table, emit
from falq.errors import FalqError, UsageError
from falq.fal.client import FalClient
from falq.model_id import parse_model_id
from falq.settings import SANDBOX_KEY, Settings
from generator.creator import install_creator
from generator.fetching import fetch_facts, search_models
from generator.generation import Request, generate_skills
from generator.model_facts import ModelFacts
from generator.report import print_found, print_made, print_schema
from generator.untrusted import plain

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])

DEFAULT_OUTPUT = ".claude/skills"
DEFAULT_LIMIT = 20
_MAX_LIMIT = 1000


def _talk_options(command: _F) -> _F:
    json_option = click.option(
        "--json", "json_wanted", is_flag=True, help="JSON on a terminal too."
    )
    quiet = click.option("-q", "--quiet", is_flag=True, help="No talk.")
    return json_option(quiet(command))


def _listing_options(command: _F) -> _F:
    limit = click.option(
        "--limit", type=click.IntRange(1, _MAX_LIMIT), default=DEFAULT_LIMIT, show_default=True,
        help="Models at most.",
    )  # fmt: skip
    cursor = click.option("--cursor", metavar="C", help="Go on where an earlier search ended.")
    return limit(cursor(command))


@click.command()
@click.option(
    "-m",
    "--model-id",
    "model_ids",
    multiple=True,
    metavar="ID",
    help="fal.ai model id; repeatable.",
)
@click.option("-s", "--search", "query", metavar="Q", help="List models that match instead.")
@click.option("-c", "--category", metavar="C", help="With --search: only this category.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_OUTPUT,
    show_default=True,
    metavar="DIR",
    help="Folder of skills.",
)
@click.option("-n", "--name", metavar="NAME", help="Name of the skill; for a single model.")
@click.option("-l", "--lazy", is_flag=True, help="Minimal SKILL.md; details in references/tools/.")
@click.option(
    "--standalone", is_flag=True, help="Copy the shared code into the skill: it can be moved."
)
@click.option(
    "--public",
    is_flag=True,
    help="--standalone, refused if it holds a symlink, a secret or a machine's path.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace generated files that were edited; keeps queue_config.yaml and your own files.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be written.")
@click.option("-k", "--api-key", metavar="KEY", help="DEPRECATED: set FAL_KEY instead.")
@_listing_options
@_talk_options
def generate(
    model_ids: tuple[str, ...], query: str | None, category: str | None, **options: Any
) -> None:  # fmt: skip
    """Generate agent skills from fal.ai model ids, or list models with --search."""
    voice = Voice(quiet=options["quiet"])
    settings = Settings.from_env(os.environ, api_key=options["api_key"])
    if options["api_key"]:
        voice.warn("--api-key is deprecated: set FAL_KEY instead")
    if not model_ids and (query is not None or category is not None):
        _list_models(settings, query or "", category, options)
        return
    _check_options(model_ids, query, category, options)
    wanted = list(dict.fromkeys(_model_id(text, voice) for text in model_ids))
    with _nothing_written(len(wanted)):
        models = _facts(settings, wanted)
        _say_price_gap(models, settings, voice)
        made = generate_skills(models, _request(settings, options))
    print_made(made, table=as_table(options["json_wanted"]), voice=voice)


@click.command()
@click.argument("query", default="")
@click.option("-c", "--category", metavar="C", help="Only this category, such as text-to-image.")
@_listing_options
@_talk_options
def search(query: str, category: str | None, **options: Any) -> None:
    """Search fal.ai's catalogue: id, name, category, price, date."""
    _list_models(Settings.from_env(os.environ), query, category, options)


@click.command()
@click.argument("model_id", metavar="ID")
@_talk_options
def schema(model_id: str, *, json_wanted: bool, quiet: bool) -> None:
    """Show what a model takes and gives, its defaults and its price."""
    voice = Voice(quiet=quiet)
    facts = _facts(Settings.from_env(os.environ), [_model_id(model_id, voice)])[0]
    if facts.deprecated:
        voice.warn(f"fal marks {facts.model_id} as deprecated; it may stop working")
    print_schema(facts, table=as_table(json_wanted), voice=voice)


@click.group()
def skill() -> None:
    """Install the fal-skill-creator skill for an agent."""


@skill.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_OUTPUT,
    show_default=True,
    metavar="DIR",
    help="Folder of skills.",
)
@click.option(
    "--force", is_flag=True, help="Replace files of the same names that falq did not write."
)
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def install(output: Path, *, force: bool, quiet: bool) -> None:  # fmt: skip
    """Install fal-skill-creator: SKILL.md and scripts; safe to repeat, keeps files of yours."""
    made = install_creator(output, force=force)
    Voice(quiet=quiet).say(f"{made.status} {made.path}: read {made.path / 'SKILL.md'}")
    emit({"path": str(made.path)})


@skill.command(hidden=True)
@click.option("--name", help="The skill's name, wherever its folder was moved to.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def run(folder: Path, name: str | None, words: tuple[str, ...]) -> int:
    """Run the wrapper of a generated skill; wrappers call this where they cannot import falq."""
    from falq.wrapper import main

    return main(words, folder, skill=name)


def _model_id(text: str, voice: Voice) -> str:
    model_id = parse_model_id(text)
    if "://" in text:
        voice.say(f"took the model id {model_id} from the address {plain(text, 200)}")
    return model_id


@contextmanager
def _nothing_written(wanted: int) -> Iterator[None]:
    """Say of an error that none of several skills was made: all are, or none."""
    try:
        yield
    except FalqError as error:
        if wanted > 1:
            gone = f"none of the {wanted} skills was written"
            error.hint = f"{gone}; {error.hint}" if error.hint else gone
        raise


def _with_client(settings: Settings, work: Callable[[FalClient], Awaitable[_T]]) -> _T:
    async def go() -> _T:
        async with FalClient(settings.hosts, settings.key) as client:
            return await work(client)

    return asyncio.run(go())


def _facts(settings: Settings, model_ids: list[str]) -> list[ModelFacts]:
    today, priced = datetime.now(UTC).date(), settings.key is not None
    return _with_client(
        settings, lambda client: fetch_facts(client, model_ids, today, priced=priced)
    )


def _list_models(
    settings: Settings, query: str, category: str | None, options: dict[str, Any]
) -> None:
    found = _with_client(
        settings,
        lambda client: search_models(
            client,
            query,
            category,
            limit=options["limit"],
            cursor=options["cursor"],
            priced=settings.key is not None,
        ),
    )
    voice = Voice(quiet=options["quiet"])
    if not found.models:
        voice.say("fal knows no such model: try fewer words or no --category")
    print_found(found, table=as_table(options["json_wanted"]), voice=voice)


def _check_options(
    model_ids: tuple[str, ...], query: str | None, category: str | None, options: dict[str, Any]
) -> None:
    if not model_ids:
        raise UsageError("expected --model-id ID or --search QUERY", "falq generate --help")
    if query is not None or category is not None:
        raise UsageError("--search and --category list models: expected no --model-id beside them")
    if options["name"] is not None and len(model_ids) > 1:
        raise UsageError(f"--name names one skill: expected one --model-id, got {len(model_ids)}")


def _request(settings: Settings, options: dict[str, Any]) -> Request:
    names = ("output", "name", "lazy", "standalone", "public", "force", "dry_run")
    # The sandbox's own key is nobody's and stands in falq's code.
    key = "" if settings.key in (None, SANDBOX_KEY) else str(settings.key)
    secrets = (key, *key.split(":"))
    return Request(**{name: options[name] for name in names}, secrets=secrets)


def _say_price_gap(models: list[ModelFacts], settings: Settings, voice: Voice) -> None:
    if any(facts.price is None for facts in models):
        why = "fal named none" if settings.key else "fal tells them only with FAL_KEY set"
        voice.say(f"some prices are missing in the skills: {why}")
