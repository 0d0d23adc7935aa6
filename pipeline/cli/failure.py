"""A command that failed half-way, with the command that goes on from there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Failed(Exception):
    """What failed, and the exact command that resumes; the error itself is `cause`."""

    def __init__(self, what: str, resume: str, cause: BaseException) -> None:
        super().__init__(what)
        self.what = what
        self.resume = resume
        self.cause = cause


@contextmanager
def resumable(what: Callable[[], str], resume: Callable[[], str]) -> Iterator[None]:
    """Turn any error in the block, Ctrl-C included, into `Failed`; both texts are made when it happens."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        raise Failed(what(), resume(), error) from error


def command_line(*words: str, **options: str | list[str] | None) -> str:
    """Return `tradewind WORDS --option value`, quoted for a shell; options that are None or empty are left out."""
    line = ["tradewind", *words]
    for name, value in options.items():
        for item in [value] if isinstance(value, str) else value or []:
            line += [f"--{name.rstrip('_')}", item]
    return shlex.join(line)
