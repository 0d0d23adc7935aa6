"""A step that trains, run by several processes: process 0 decides what is done, and all do it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.backend import select_backend
from pipeline.cluster.backend import join_backend
from pipeline.cluster.channel import Chief, Follower, free_port
from pipeline.cluster.place import Place
from pipeline.config import Recipe
from pipeline.errors import Interrupted, TradewindError
from pipeline.progress import SilentProgress
from pipeline.steps import GRAPH
from pipeline.store import View, source_hash
from pipeline.training.compile_cache import keep_compiled


@dataclass(frozen=True)
class Job:
    """One call of a step's function, as all processes make it.

    Attributes:
        recipe: dict. The recipe as JSON, with nothing `auto` in it.
        step: str. Its name.
        arguments: dict. Of the function, but for recipe, out and progress; folders as text.
        folders: tuple of str. Which of the arguments are folders.
        out: str. Folder to write into.
        compiled: str. Folder that keeps compiled programs.
        address: str. Where the backend of process 0 listens.
    """

    recipe: dict[str, Any]
    step: str
    arguments: dict[str, Any]
    folders: tuple[str, ...]
    out: str
    compiled: str
    address: str


class Crew:
    """Process 0 and its helpers; the helpers are met when there is first something to do.

    Args:
        place: Place. Of process 0.
        recipe: Recipe. As it was started with, which the others must have been too.
        say: callable. Told who is waited for.
    """

    def __init__(self, place: Place, recipe: Recipe, say: Callable[[str], None]) -> None:
        self.place = place
        self.patience = recipe.runtime.start_seconds
        self._facts = facts(recipe)
        self._chief = Chief(place, self.patience, say)
        self._address = ""

    def call(
        self, recipe: Recipe, step: str, arguments: Mapping[str, Any], out: Path, compiled: Path, run: Callable[[], Any]
    ) -> Any:
        """Return what `run` does, while all others do the same.

        Raises:
            Interrupted: one of them was lost; the same command goes on from the last checkpoint.
        """
        self._chief.assemble(self._facts)
        self._address = self._address or f"{self.place.address[0]}:{free_port()}"
        folders = tuple(name for name, value in arguments.items() if isinstance(value, Path))
        plain = {name: str(value) if name in folders else value for name, value in arguments.items()}
        job = Job(recipe.model_dump(mode="json"), step, plain, folders, str(out), str(compiled), self._address)
        self._chief.send(asdict(job))
        with others_may_be_lost(self._chief.lost):
            join_backend(recipe.runtime.backend, self.place, self._address, self.patience)
            return run()

    def close(self) -> None:
        """Let the others go."""
        self._chief.close()


def follow(place: Place, recipe: Recipe) -> None:
    """Do what process 0 says until there is nothing more to do.

    Args:
        place: Place. This process's.
        recipe: Recipe. As this process was started with.

    Raises:
        TradewindError: what the step found wrong here, or process 0 anywhere.
        Interrupted: another process was lost, or all were stopped.
    """
    follower = Follower(place, recipe.runtime.start_seconds, facts(recipe))
    while message := follower.receive():
        message["folders"] = tuple(message["folders"])
        job = Job(**message)
        with others_may_be_lost(follower.lost):
            _help(place, job)


def facts(recipe: Recipe) -> dict[str, str]:
    """Return what all processes must agree on: the recipe, and the code that trains."""
    code = "".join(source_hash(step.module) for step in GRAPH.values() if step.trains)
    return {"recipe": recipe.model_dump_json(), "code": code}


def _help(place: Place, job: Job) -> None:
    recipe, step = Recipe.model_validate(job.recipe), GRAPH[job.step]
    # A folder of its own: two that seal, or drop, the entries of one folder at a time would trip over each other.
    own = Path(job.compiled) / f"process-{place.process_id}"
    keep_compiled(select_backend(recipe.runtime.backend), own)
    join_backend(recipe.runtime.backend, place, job.address, recipe.runtime.start_seconds)
    view = View(recipe, step.reads_of(job.arguments.get("task")), step.uses)
    arguments = {name: Path(value) if name in job.folders else value for name, value in job.arguments.items()}
    step.load()(recipe=view, out=Path(job.out), progress=SilentProgress(), **arguments)


@contextmanager
def others_may_be_lost(lost: Callable[[], list[str]]) -> Iterator[None]:
    """Turn the error that a backend gives when a process has gone into one that says so, and is retried."""
    try:
        yield
    except TradewindError:
        raise
    except Exception as error:
        gone = ", ".join(lost()) or "another process"
        if not (lost() or _tells_of_a_loss(error)):
            raise
        raise Interrupted(
            f"{gone} was lost while training on {socket.gethostname()} ({type(error).__name__}); run the same command "
            "again on all, which goes on from the last checkpoint"
        ) from error


def _tells_of_a_loss(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection", "heartbeat", "peer", "coordination"))
