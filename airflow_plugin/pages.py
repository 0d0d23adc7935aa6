"""The pages inside Airflow: the report of a run, the registry's models, and the button that rolls one back.

Each asks Airflow who is there and what that user may do with the DAG of the recipe. What changes anything is a JSON
request with a header of its own: no form of another site can send it, and Airflow's cookie is kept to its own site.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dagrun import DagRun
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import ChoiceLoader, Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markupsafe import Markup
from pydantic import BaseModel, Field
from sqlalchemy import select

from airflow_plugin.runs import data_docs_of, folders_of, mlflow_run_of, record_of, settings
from pipeline.errors import PublishError
from pipeline.judge.names import spoken
from pipeline.registry import Registry, rollback
from pipeline.registry.overview import Overview, overview
from pipeline.report import environment
from pipeline.store import Store

app = FastAPI(title="Tradewind", docs_url=None, redoc_url=None, openapi_url=None)
TEMPLATES = Path(__file__).with_name("templates")
MAY_READ_RUN = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
# Nothing is loaded from elsewhere.
SAME_SITE = "default-src 'none'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; style-src 'self' "
SAME_SITE += "'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; script-src "


@app.get("/runs/{dag_id}/{run_id}/report", dependencies=[MAY_READ_RUN])
def show_report(dag_id: str, run_id: str, session: SessionDep) -> Response:
    """Show the report of a DAG run or, while there is none, how far the run has come."""
    store, name = Store(settings().workspace), record_of(dag_id, run_id)
    page = Path("reports", name, "index.html")
    if (store.root / page).is_file():
        return RedirectResponse(f"files/{page.as_posix()}")
    query = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    state = session.scalar(query)
    if state is None:
        raise HTTPException(404, f"the DAG {dag_id} has no run {run_id}")
    record = store.runs.load(name) if store.runs.path(name).is_file() else None
    return render("state.html.j2", state=str(getattr(state, "value", state)), record=record, run_id=run_id)


@app.get("/runs/{dag_id}/{run_id}/files/{path:path}", dependencies=[MAY_READ_RUN])
def show_file(dag_id: str, run_id: str, path: str) -> Response:
    """Show a page of a run: its report, or one that belongs to its artifacts."""
    store, name = Store(settings().workspace), record_of(dag_id, run_id)
    root = store.root.resolve()
    file = (root / path).resolve()
    owned = [root / "reports" / name]
    folders = [folder.resolve() for folder in folders_of(dag_id, run_id).values()]
    owned += [page for folder in folders for page in (folder / "data_docs", folder / "drift.html")]
    if not file.is_file() or not any(file.is_relative_to(place) for place in owned):
        raise HTTPException(404, f"the run {run_id} of {dag_id} has no page {path}")
    if "data_docs" in file.parts:  # pages of Great Expectations, with scripts of their own
        return FileResponse(file, headers={"Content-Security-Policy": f"{SAME_SITE}'self' 'unsafe-inline'"})
    return themed(file)


@app.get("/runs/{dag_id}/{run_id}/data", dependencies=[MAY_READ_RUN])
def show_data(dag_id: str, run_id: str) -> Response:
    """Show what was checked of the run's data."""
    page = data_docs_of(dag_id, run_id)
    if page is None:
        raise HTTPException(404, f"the run {run_id} of {dag_id} has no pages of its data: `validate` has written none")
    return RedirectResponse(f"files/{page.relative_to(Store(settings().workspace).root).as_posix()}")


@app.get("/runs/{dag_id}/{run_id}/mlflow/{node}", dependencies=[MAY_READ_RUN])
def show_mlflow(dag_id: str, run_id: str, node: str) -> Response:
    """Go on to the curves of a training in MLflow or, where nobody serves its pages, say how to."""
    kept = mlflow_run_of(dag_id, run_id, node)
    if kept is None:
        raise HTTPException(404, f"{node} of the run {run_id} has no curves in MLflow: it is no training, or not ended")
    run, address = json.loads(kept.read_text("utf-8")), registry().uri
    where = f"#/experiments/{quote(run['experiment_id'])}/runs/{quote(run['run_id'])}"
    if address.startswith(("http://", "https://")):
        return RedirectResponse(f"{address.rstrip('/')}/{where}")
    how = f"Start them with: mlflow ui --backend-store-uri {address} - and open http://127.0.0.1:5000/{where}"
    return render("broken_page.html.j2", title="Nobody serves MLflow's pages", error=how)


@app.get("/models")
def show_models(user: GetUserDep) -> Response:
    """Show the models of the recipes whose DAGs the user may read."""
    try:
        models = [model for model in overview(registry()) if allowed("GET", model.recipe, user)]
    except PublishError as error:
        return render("broken_page.html.j2", status_code=503, title="Models", error=str(error))
    charts = {model.name: history(model) for model in models if len(model.entries) > 1}
    writable = {model.name for model in models if allowed("PUT", model.recipe, user)}
    return render("models.html.j2", models=models, charts=charts, writable=writable)


@app.get("/models/{name}/versions/{version}/card")
def show_card(name: str, version: str, user: GetUserDep) -> Response:
    """Show the model card of a version."""
    check_allowed("GET", name, user)
    try:
        card = registry().version(name, version).bundle / "MODEL_CARD.md"
        text = card.read_text("utf-8")
    except (PublishError, OSError) as error:
        raise HTTPException(404, str(error)) from None
    made = Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))  # noqa: S704 - no raw HTML
    return render("card.html.j2", name=name, version=version, card=made)


class Rollback(BaseModel):
    """What is to be taken back, and why."""

    version: str
    why: Annotated[str, Field(pattern=r"\S")]


@app.post("/models/{name}/rollback")
def roll_back(
    name: str, asked: Rollback, user: GetUserDep, x_tradewind: Annotated[str | None, Header()] = None
) -> dict[str, str]:
    """Let the previous version serve again, in the name of the user."""
    if x_tradewind != "rollback":
        raise HTTPException(400, "the header X-Tradewind: rollback is missing; use the button of the models' page")
    check_allowed("PUT", name, user)
    try:
        version = rollback(registry(), name, asked.why, who=user.get_name(), expected=asked.version)
    except PublishError as error:
        raise HTTPException(409, str(error)) from None
    return {"model": name, "champion": version.version}


def check_allowed(method: Any, model: str, user: Any) -> None:
    """Raise unless there is such a model, and the user may do this with the DAG of its recipe."""
    records = registry().records(model)
    if not records:
        raise HTTPException(404, f"no model {model} is registered")
    recipe = next((record.tags["tradewind.recipe"] for record in records if "tradewind.recipe" in record.tags), "")
    if not allowed(method, recipe, user):
        raise HTTPException(403, f"{user.get_name()} may not do this with models of the DAG {recipe or '(unknown)'}")


def allowed(method: Any, recipe: str, user: Any) -> bool:
    """Return whether the user may read or change the DAG of a recipe, and so its models."""
    return get_auth_manager().is_authorized_dag(method=method, details=DagDetails(id=recipe or None), user=user)


def history(model: Overview) -> Any:
    """Return the chart of a model's best-known figures over its versions; None where there are none."""
    from pipeline.judge.charts import curve

    drawn = curve({spoken(name, start=False): points for name, points in model.history().items()})
    whole = [tick for tick in drawn.x_ticks if tick.text.isdecimal()] if drawn else []
    return replace(drawn, x_ticks=whole) if drawn else None


def registry() -> Registry:
    """Return the registry that the runs publish to."""
    return Registry.for_workspace(settings())


def render(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; the scripts on it carry a number that is used once, and no others run."""
    nonce = secrets.token_urlsafe(16)
    text = templates().get_template(template).render(values | {"nonce": nonce})
    headers = {"Content-Security-Policy": f"{SAME_SITE}'nonce-{nonce}'", "Cache-Control": "no-store"}
    return HTMLResponse(text, status_code, headers)


def themed(file: Path) -> HTMLResponse:
    """Return a page of the store, which is light or dark as Airflow is."""
    nonce, script = secrets.token_urlsafe(16), (TEMPLATES / "theme.js").read_text("utf-8")
    text = file.read_text("utf-8").replace("</head>", f'<script nonce="{nonce}">{script}</script></head>', 1)
    return HTMLResponse(text, headers={"Content-Security-Policy": f"{SAME_SITE}'nonce-{nonce}'"})


def templates() -> Environment:
    """Return the templates of these pages, which share the looks of the report's."""
    found = environment()
    assert found.loader is not None
    found.loader = ChoiceLoader([FileSystemLoader(TEMPLATES), found.loader])
    return found
