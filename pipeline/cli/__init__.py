"""The command line. `main` is the command `tradewind`; each other file adds the commands that its name says."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: those of the process) and return the exit code."""
    if arguments is None:
        from pipeline.cli.memory import restart_with_huge_pages

        restart_with_huge_pages()
    from pipeline.cli.application import execute

    return execute(arguments)
