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

if TYPE_CHECKING:
    from redis import Redis

    from falq.files.upload import UploadCache

OnEvent = Callable[[Mapping[str, Any]], None]
#: Fal keeps files longer; the address of a content is used again for a day, seconds.
UPLOAD_CACHE_S = 86_400
#: A value that is no path may be a whole file in base64.
_SHOWN_CHARS = 120


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
        upload_fields: ``NAME=PATH`` of ``--upload-field``.
        input_schema: The model's; tells media fields beside their names.
        on_event: Is told of each file.
        fresh: Send each file, even one that was sent within a day.

    Raises:
        ArgumentsError: A file is missing, empty, unreadable or no file; nothing was sent.
        AccountError: There is no key to upload with, or fal refuses it.
    """
    properties = (input_schema or {}).get("properties") or {}
    promised = promised_values(upload_fields, input_schema)
    rest = {name: value for name, value in arguments.items() if name not in promised}
    paths = _paths_in(rest, properties) | _paths_of(promised)
    if not paths:
        return arguments
    urls = upload_all(settings, list(paths.values()), on_event, fresh=fresh)
    return with_urls({**arguments, **promised}, dict(zip(paths, urls, strict=True)))


def promised_values(
    upload_fields: Sequence[str], input_schema: Mapping[str, Any] | None
) -> dict[str, str | list[str]]:
    """Give what ``--upload-field`` makes of fields, with paths where addresses will stand.

    A field that takes a list gets one; without a schema, one that is given more than once
    or whose name says ``_urls``.

    >>> promised_values(["image_url=a.png", "image_urls=b.png"], None)
    {'image_url': 'a.png', 'image_urls': ['b.png']}

    Raises:
        ArgumentsError: One is not ``NAME=PATH``.
    """
    paths: dict[str, list[str]] = {}
    for field in upload_fields:
        name, path = _named(field)
        paths.setdefault(name, []).append(path)
    lists = {name: _takes_list(name, len(given), input_schema) for name, given in paths.items()}
    return {name: given if lists[name] else given[0] for name, given in paths.items()}


def _takes_list(name: str, count: int, input_schema: Mapping[str, Any] | None) -> bool:
    from falq.schema.fields import read_fields

    known = {field.name: field for field in read_fields(dict(input_schema or {}))}
    if name not in known:
        return count > 1 or name.endswith("_urls")
    takes = "array" in known[name].kinds
    if count > 1 and not takes:
        raise ArgumentsError(f"--upload-field {name} is given {count} times: it takes one file")
    return takes and (count > 1 or "string" not in known[name].kinds)


def _paths_in(arguments: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[Keys, str]:
    local = find_local(arguments, is_file=_is_file, media_kind=media_kind, properties=properties)
    for value in local:
        if not value.found and not _exists(value.path):
            raise ArgumentsError(
                f"{value.field} is {_shown(value.path)}: there is no such file,"
                " and it is no address",
                "give a path to a file, an https:// address or a data: URI",
            )
    return {value.keys: value.path for value in local}


def _paths_of(promised: Mapping[str, str | list[str]]) -> dict[Keys, str]:
    found: dict[Keys, str] = {}
    for name, value in promised.items():
        if isinstance(value, str):
            found[(name,)] = value
        else:
            found |= {(name, index): path for index, path in enumerate(value)}
    return found


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


def _shown(path: str) -> str:
    return repr(path) if len(path) <= _SHOWN_CHARS else f"{path[:_SHOWN_CHARS]!r}…"


def _named(field: str) -> tuple[str, str]:
    name, equals, path = field.partition("=")
    if not (name and equals and path):
        raise ArgumentsError(f"--upload-field {_shown(field)}: expected NAME=PATH")
    return name, path


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
