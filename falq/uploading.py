"""Uploads the local files among a call's arguments, before anything is paid for."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falq.errors import ArgumentsError, RedisUnavailableError
from falq.files.media_fields import Keys, find_local, with_urls
from falq.schema.media import media_kind
from falq.settings import Settings
from falq.upload_fields import place_promised, shown

if TYPE_CHECKING:
    from redis import Redis

    from falq.files.upload import UploadCache

OnEvent = Callable[[Mapping[str, Any]], None]
#: Fal keeps files longer; the address of a content is used again for a day, seconds.
UPLOAD_CACHE_S = 86_400


class MemoryUploadCache:
    """Addresses of uploaded contents, for one call."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        """Find the address of a content."""
        return self._known.get(key)

    def put(self, key: str, url: str) -> None:
        """Remember the address of a content."""
        self._known[key] = url


class RedisUploadCache:
    """Addresses of uploaded contents, shared by all callers of an account.

    While Redis is away it knows nothing: then a file is sent again.

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
        from falq.redis_link import translate_redis_errors

        found: Any = None
        with contextlib.suppress(RedisUnavailableError), translate_redis_errors():
            found = self._redis.get(keys.upload(self._account, key))
        return found.decode() if found else None

    def put(self, key: str, url: str) -> None:
        """Remember the address of a content."""
        from falq import keys
        from falq.redis_link import translate_redis_errors

        with contextlib.suppress(RedisUnavailableError), translate_redis_errors():
            self._redis.set(keys.upload(self._account, key), url, ex=UPLOAD_CACHE_S)


def with_uploads(
    settings: Settings,
    arguments: dict[str, Any],
    upload_fields: Sequence[str],
    input_schema: Mapping[str, Any] | None,
    on_event: OnEvent,
    *,
    fresh: bool = False,
) -> dict[str, Any]:
    """Give the arguments with uploaded files' addresses in place of local paths.

    Args:
        settings: Whose key uploads.
        arguments: As the caller gave them.
        upload_fields: ``NAME=PATH`` of ``--upload-field``; see ``falq.upload_fields``.
        input_schema: The model's; tells media fields beside their names.
        on_event: Is told of each file.
        fresh: Send each file, even one that was sent within a day.

    Raises:
        ArgumentsError: A file is missing, empty, unreadable or no file, or there is no such
            field; nothing was sent.
        AccountError: There is no key to upload with, or fal refuses it.
    """
    properties = (input_schema or {}).get("properties") or {}
    placed, promised = place_promised(arguments, upload_fields, input_schema)
    paths = _paths_in(placed, properties) | promised
    if not paths:
        return arguments
    urls = upload_all(settings, list(paths.values()), on_event, fresh=fresh)
    return with_urls(placed, dict(zip(paths, urls, strict=True)))


def _paths_in(arguments: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[Keys, str]:
    local = find_local(arguments, is_file=_is_file, media_kind=media_kind, properties=properties)
    for value in local:
        if not value.found and not _exists(value.path):
            raise ArgumentsError(
                f"{value.field} is {shown(value.path)}: there is no such file,"
                " and it is no address",
                "give a path to a file, an https:// address or a data: URI",
            )
    return {value.keys: value.path for value in local}


def _is_file(path: str) -> bool:
    # What is far too long or otherwise no path makes pathlib raise: then it is no file.
    try:
        return Path(path).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(Path(path).expanduser())
    except (OSError, RuntimeError, ValueError):
        return False


def upload_all(
    settings: Settings, paths: Sequence[str], on_event: OnEvent, *, fresh: bool = False
) -> list[str]:
    """Upload files one after another and give their addresses, in order.

    Raises:
        ArgumentsError: One is missing, empty, unreadable or no file; nothing was sent.
        AccountError: There is no key to upload with, or fal refuses it.
    """
    from falq.files.local_file import look_at

    found = [look_at(path).path for path in paths]
    settings.require_key()
    with _cache(settings) as cache:
        return asyncio.run(_upload_all(settings, found, cache, on_event, fresh=fresh))


async def _upload_all(
    settings: Settings,
    paths: Sequence[str],
    cache: UploadCache,
    on_event: OnEvent,
    *,
    fresh: bool,
) -> list[str]:
    from falq.files.upload import Storage, upload_file

    storage = Storage(rest_url=settings.hosts.rest, key=settings.key)
    urls = []
    for path in paths:

        def progress(sent: int, whole: int, path: str = path) -> None:
            on_event({"upload": path, "bytes": sent, "of": whole})

        urls.append(
            await upload_file(path, storage=storage, cache=cache, fresh=fresh, on_progress=progress)
        )
        on_event({"uploaded": path})
    return urls


@contextlib.contextmanager
def _cache(settings: Settings) -> Iterator[UploadCache]:
    """Give the shared cache, or one for this call alone where Redis is away."""
    from falq.redis_link import connect, translate_redis_errors

    with contextlib.ExitStack() as stack:
        try:
            with translate_redis_errors():
                redis = stack.enter_context(contextlib.closing(connect(settings)))
                redis.ping()
        except RedisUnavailableError:
            yield MemoryUploadCache()
        else:
            yield RedisUploadCache(redis, settings.account)
