"""``falq upload``: local files to fal's storage, their addresses to stdout."""

from __future__ import annotations

import os

import click

from falq.cli.progress import Progress
from falq.cli.show import Voice, as_table, emit


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--fresh", is_flag=True, help="Send files again that were sent within a day.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON on a terminal too.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no talk.")
def upload(files: tuple[str, ...], fresh: bool, json_wanted: bool, quiet: bool) -> None:
    """Upload files to fal's storage and print their addresses.

    A file that was uploaded within a day keeps its address if it is still there. Who knows it
    can read the file.
    """
    from falq.settings import Settings
    from falq.uploading import upload_all

    with Progress(Voice(quiet=quiet)) as progress:
        urls = upload_all(Settings.from_env(os.environ), files, progress, fresh=fresh)
    if as_table(json_wanted):
        click.echo("\n".join(urls))
    else:
        pairs = zip(files, urls, strict=True)
        emit({"urls": urls, "files": [{"path": path, "url": url} for path, url in pairs]})
