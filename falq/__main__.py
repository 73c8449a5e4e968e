"""``python -m falq``: the same as the command ``falq``."""

from falq.cli.main import main

main()
