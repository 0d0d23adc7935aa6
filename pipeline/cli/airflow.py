"""`tradewind airflow`: a local Airflow with a DAG for each recipe, for one person on one machine."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.airflow_page import USER, Page
from pipeline.config import Settings
from pipeline.errors import TradewindError
from pipeline.recipes import list_recipes

if TYPE_CHECKING:
    from pipeline.cli.airflow_processes import Processes

HOST = "127.0.0.1"
READY_SECONDS = 300.0
DAG_SECONDS = 90.0
TOKEN_SECONDS = 86_400  # of a task; with the default, long trainings were ended half-way (apache/airflow#67939)
POOL = "training"
PROJECT = Path(__file__).resolve().parents[2]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("airflow")(airflow)


def airflow(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Of the web page, which only this machine sees.")] = 8080,
) -> None:
    """Start Airflow with a DAG for each recipe; Ctrl-C stops it.

    It keeps its database, logs and password in the workspace, and goes on with interrupted runs at the next start.
    The recipes are those of the project's configs/, or of the folder that TRADEWIND_RECIPES names.

    Example: tradewind airflow --port 8081
    """
    from pipeline.cli.airflow_processes import Processes, kill
    from pipeline.store.locks import hold_if_free

    settings = Settings()
    home = settings.workspace.absolute() / "airflow"
    env = environment(settings, home, port)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    with hold_if_free(home / "lock") as free, told_to_stop() as stop:
        if not free:
            raise TradewindError(
                f"Airflow runs in this workspace already: {(home / 'address').read_text()}; stop it with Ctrl-C in its "
                "terminal, or use another workspace: TRADEWIND_WORKSPACE=FOLDER tradewind airflow --port PORT"
            )
        check_port(port)
        processes = Processes(home, env)
        if left_over := processes.left_over():
            typer.echo(f"Stopping {len(left_over)} processes that an earlier start has left running.")
            kill(left_over)
        page = Page(f"http://{HOST}:{port}", password(home))
        (home / "address").write_text(page.url)
        try:
            start(processes, page, stop)
            announce(page, stop, Path(env["TRADEWIND_RECIPES"]), home)
            while not stop.asked.wait(1.0):
                processes.check()
        finally:
            typer.echo("Stopping Airflow: a training at work saves its state first. Ctrl-C again stops at once.")
            processes.stop(stop.hurried.is_set)
    typer.echo("Airflow has stopped. Runs that were interrupted go on at the next start.")


def environment(settings: Settings, home: Path, port: int) -> dict[str, str]:
    """Return the environment of all of Airflow's processes.

    Raises:
        TradewindError: there are no DAG files, as in an installation from a wheel.
        RecipeError: there is no folder of recipes.
    """
    dags = PROJECT / "dags"
    if not (dags / "recipes.py").is_file():
        raise TradewindError(
            f"{dags} does not hold the project's DAG files; `tradewind airflow` needs a checkout of the project, "
            "installed by `pip install --editable .` or run by `make airflow`"
        )
    named = "recipes" in settings.model_fields_set
    recipes = settings.recipes.absolute() if named else PROJECT / settings.recipes
    list_recipes(recipes)
    url = f"http://{HOST}:{port}"
    bundle = {
        "name": "tradewind",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    chosen = {
        "API__BASE_URL": url,
        "API__HOST": HOST,
        "API__INSTANCE_NAME": "Tradewind",
        "API__PORT": port,
        "API__WORKERS": 1,
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__DAGS_FOLDER": dags,
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 4,  # so many processes wait for work
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": False,
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": home / "passwords.json",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "EXECUTION_API__JWT_EXPIRATION_TIME": TOKEN_SECONDS,
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        # A process that has ended is noticed this late, and keeps its slot; an answer given before is taken for lost.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        "WORKERS__MAX_FAILED_HEARTBEATS": 60,
    }
    local = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, "localhost")))
    return {
        **os.environ,
        **{f"AIRFLOW__{key}": str(value) for key, value in chosen.items()},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
        "NO_PROXY": local,
        "no_proxy": local,
        "TRADEWIND_POOL": settings.pool or POOL,
        "TRADEWIND_POOL_SLOTS": str(settings.pool_slots if "pool_slots" in settings.model_fields_set else slots()),
        "TRADEWIND_RECIPES": str(recipes),
        "TRADEWIND_WORKSPACE": str(settings.workspace.absolute()),
    }


def slots() -> int:
    """Return the slots of the pool, one for each accelerator: a training takes all, unless its recipe takes fewer."""
    from pipeline.training.hardware import accelerators

    return max(1, len(accelerators()))


def password(home: Path) -> str:
    """Return the password of the user, made at the first start and kept in a file that only its owner can read."""
    file = home / "passwords.json"
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump({USER: secrets.token_urlsafe(12)}, stream)
    kept: str = json.loads(file.read_text())[USER]
    return kept


def check_port(port: int) -> None:
    """Raise TradewindError unless the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise TradewindError(
                f"port {port} of {HOST} cannot be used: {error.strerror}; choose another: tradewind airflow --port PORT"
            ) from None


class Stop:
    """What the signals ask for: the first to stop, the next to hurry."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.hurried = threading.Event()

    def handle(self, _: int, __: FrameType | None) -> None:
        """Take in one signal."""
        (self.hurried if self.asked.is_set() else self.asked).set()


@contextmanager
def told_to_stop() -> Iterator[Stop]:
    """Yield what Ctrl-C, SIGTERM and a closed terminal ask for inside the block; none of them breaks it off."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop.handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(processes: Processes, page: Page, stop: Stop) -> None:
    """Start all components, and wait until they are at work or `stop` asks to give up.

    The scheduler comes last, when the server answers: a task that cannot report to it has failed, and one that waits
    for its next try since an interruption would start, and fail, in the first second.

    Raises TradewindError when a component ends, or when they are not at work in time.
    """
    from pipeline.cli.airflow_processes import COMPONENTS, SCHEDULER

    typer.echo("Starting Airflow; this takes about a minute ...")
    processes.run("db-migrate", "db", "migrate", stopped=stop.asked.is_set)
    end = time.monotonic() + READY_SECONDS
    for name, arguments in COMPONENTS.items():
        if name == SCHEDULER:
            _wait(page.answers, end, processes, stop)
            if not stop.asked.is_set():
                page.log_in()
                page.make_pool(processes.environment["TRADEWIND_POOL"], slots())
        if not stop.asked.is_set():
            processes.start(name, name, *arguments)
    _wait(page.healthy, end, processes, stop)


def _wait(condition: Callable[[], bool], end: float, processes: Processes, stop: Stop) -> None:
    while not stop.asked.is_set() and not condition():
        processes.check()
        if time.monotonic() > end:
            raise TradewindError(
                f"Airflow was not ready after {READY_SECONDS:.0f} s; the logs of its parts are in {processes.logs}"
            )
        stop.asked.wait(0.5)


def announce(page: Page, stop: Stop, recipes: Path, home: Path) -> None:
    """Say where the page is, who may enter, which DAGs there are, and how to stop, unless `stop` asks to give up."""
    if stop.asked.is_set():
        return
    page.log_in()
    expected = len(list_recipes(recipes))
    end = time.monotonic() + DAG_SECONDS
    dags: list[dict[str, Any]] = []
    while (
        sum(not dag["dag_id"].endswith(".monitor") for dag in dags) < expected
        and time.monotonic() < end
        and not stop.asked.wait(1.0)
    ):
        dags = page.get("/api/v2/dags?limit=500")["dags"]
    lines = [f"\n✓ Airflow is ready: {page.url}", f"  user {USER}, password {page.password}", ""]
    lines += [f"  {dag['dag_display_name']:<24} {page.url}/dags/{dag['dag_id']}" for dag in dags]
    if len(dags) < expected:
        lines.append(f"  of {expected} recipes in {recipes}, {len(dags)} have a DAG yet; the page says what is wrong")
    lines += ["", f"  Everything is kept in {home}; recipes are read from {recipes}.", "  Ctrl-C stops Airflow."]
    typer.echo("\n".join(lines))
