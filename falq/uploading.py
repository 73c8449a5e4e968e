"""Uploads the local files among a call's arguments, before anything is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falq.errors import ArgumentsError
from falq.files.media_fields import find_local, with_urls
from falq.schema.media import media_kind
from falq.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

OnEvent = Callable[[Mapping[str, Any]], None]
#: Fal keeps files longer; the address of a content is used again for a day, seconds.
UPLOAD_CACHE_S = 86_400


class RedisUploadCache:
    """Addresses of uploaded contents, shared by all callers of an account.

    Args:
        redis: Bytes replies.
        account: Whose uploads.
    """

    def __init__(self, redis: Redis, account: str) -> None:
        self._redis = redis
        self._account = account

    def get(self, key: str) -> str | None:
        """Find the address of a content."""
        from falq import keys

        found: Any = self._redis.get(keys.upload(self._account, key))
        return found.decode() if found else None

    def put(self, key: str, url: str) -> None:
        """Remember the address of a content."""
        from falq import keys

        self._redis.set(keys.upload(self._account, key), url, ex=UPLOAD_CACHE_S)


def with_uploads(
    settings: Settings,
    arguments: dict[str, Any],
    upload_fields: Sequence[str],
    input_schema: Mapping[str, Any] | None,
    on_event: OnEvent,
) -> dict[str, Any]:
    """Give the arguments with uploaded files' addresses in place of local paths.

    Args:
        settings: Whose key uploads.
        arguments: As the caller gave them.
        upload_fields: ``NAME=PATH`` of ``--upload-field``.
        input_schema: The model's; tells media fields beside their names.
        on_event: Is told of each file.

    Raises:
        ArgumentsError: A file is missing, empty, unreadable or no file; nothing was sent.
        AccountError: There is no key to upload with, or fal refuses it.
    """
    named = dict(_named(field) for field in upload_fields)
    properties = (input_schema or {}).get("properties")
    local = find_local(
        arguments, is_file=lambda path: Path(path).expanduser().is_file(),
        media_kind=media_kind, properties=properties,
    )  # fmt: skip
    for value in local:
        if not value.found:
            raise ArgumentsError(
                f"{value.field} is {value.path!r}: there is no such file, and it is no address",
                "give a path to a file, an https:// address or a data: URI",
            )
    paths = {value.keys: value.path for value in local} | {(n,): p for n, p in named.items()}
    if not paths:
        return arguments
    urls = upload_all(settings, list(paths.values()), on_event)
    merged = dict(arguments) | named
    return with_urls(merged, dict(zip(paths, urls, strict=True)))


def _named(field: str) -> tuple[str, str]:
    name, equals, path = field.partition("=")
    if not (name and equals and path):
        raise ArgumentsError(f"--upload-field {field!r}: expected NAME=PATH")
    return name, path


def upload_all(settings: Settings, paths: Sequence[str], on_event: OnEvent) -> list[str]:
    """Upload files one after another and give their addresses, in order."""
    from falq.files.local_file import look_at

    settings.require_key()
    expanded = [str(Path(path).expanduser()) for path in paths]
    for path in expanded:
        look_at(path)
    return asyncio.run(_upload_all(settings, expanded, on_event))


async def _upload_all(settings: Settings, paths: Sequence[str], on_event: OnEvent) -> list[str]:
    from falq.files.upload import Storage, upload_file

    storage = Storage(rest_url=settings.hosts.rest, key=settings.key)
    urls = []
    for path in paths:

        def progress(sent: int, whole: int, path: str = path) -> None:
            on_event({"upload": path, "bytes": sent, "of": whole})

        cache = _cache(settings)
        urls.append(await upload_file(path, storage=storage, cache=cache, on_progress=progress))
        on_event({"uploaded": path})
    return urls


def _cache(settings: Settings) -> RedisUploadCache | None:
    """Give the shared cache, or none where Redis is not there: then files are sent again."""
    from falq.redis_link import connect

    try:
        redis = connect(settings)
        redis.ping()
    except Exception:  # noqa: BLE001  # whatever is wrong with Redis, an upload needs none
        return None
    return RedisUploadCache(redis, settings.account)
