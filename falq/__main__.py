"""The command ``falq``, also as ``python -m falq``: Ctrl-C is seen to before all imports."""

from __future__ import annotations

from falq.cli import interrupt


def main() -> None:
    """Run the command line of this process."""
    interrupt.leave_at_once()
    from falq.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
