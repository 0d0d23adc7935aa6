"""The HTTP interface: what each address answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from pipeline.errors import SourceError
from pipeline.monitoring.log import AnswerLog
from pipeline.serving.batching import Batcher, Busy
from pipeline.serving.gate import make_gate, problem
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.schema import MOST_TOP, Answers, Health, ModelDescription, Problem, Question, question_within
from pipeline.serving.watcher import Watcher

PAGE = Path(__file__).with_name("page.html")
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CLIENT_GONE = 499  # nobody reads it
SHOWN = 3  # errors of one request
REFUSALS = {
    400: "not JSON, or nested too deeply",
    401: "no known token",
    408: "the body came too slowly",
    413: "the body is too large",
    422: "the texts are not as described",
    429: "too many requests of one client; see Retry-After",
    503: "too much waits, or the server stops; see Retry-After",
}


@dataclass
class Service:
    """What the addresses share.

    Attributes:
        batcher: Batcher. Asks the model.
        watcher: Watcher. Follows the alias.
        limits: Limits. Of requests.
        tokens: collection of str. One of them must be sent to ask the model; empty for none.
        metrics: Metrics. Of this server.
        log: AnswerLog. Keeps what was asked and answered; None where nothing is kept.
        stopping_since: float. `time.monotonic` of the signal to stop; None before.
    """

    batcher: Batcher
    watcher: Watcher
    limits: Limits
    tokens: Collection[str]
    metrics: Metrics
    log: AnswerLog | None = None
    stopping_since: float | None = field(default=None)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self.stopping_since is not None

    def stop(self) -> None:
        """Note that no more requests should be sent here."""
        self.stopping_since = time.monotonic()

    @asynccontextmanager
    async def running(self, _app: FastAPI) -> AsyncIterator[None]:
        """Answer batches and follow the alias while the application runs."""
        tasks = [asyncio.create_task(each) for each in (self.batcher.run(), self.watcher.run(), self._write_log())]
        yield
        for task in tasks:
            task.cancel()
        if self.log:
            self.log.flush()

    async def _write_log(self) -> None:
        while self.log:
            await asyncio.sleep(self.log.seconds / 4)
            await asyncio.to_thread(self.log.write_due)

    def keep(self, version: str, question: Question, said: list[dict[str, Any]]) -> BackgroundTask | None:
        """Return what logs an answer once it has been sent."""
        if self.log is None:
            return None
        return BackgroundTask(self.log.add, version, question.texts, question.pairs, said)


def make_app(service: Service) -> FastAPI:
    """Return the application."""
    app = FastAPIOffline(
        redoc_url=None,
        title="Tradewind",
        version=version("tradewind"),
        description="Answers texts with a published model.",
        lifespan=service.running,
    )
    app.add_middleware(
        make_gate,
        limits=service.limits,
        tokens=service.tokens,
        metrics=service.metrics,
        stopping=lambda: service.stopping,
    )
    app.add_exception_handler(RequestValidationError, _explain_question)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _explain_http)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _explain_error)
    _add_predict(app, service)
    _add_views(app, service)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    asked = question_within(service.limits)
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": text} for status, text in REFUSALS.items()
    }

    async def predict(request: Request, question: Question) -> Response:
        """Answer texts, in their order; they are answered together with those of other requests."""
        request.state.texts = len(question.texts)
        answering = asyncio.ensure_future(service.batcher.ask(request.state.client, question))
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                return Response(status_code=CLIENT_GONE)
            hosted, said = answering.result()
        except Busy as busy:
            return problem(503, f"{busy}; ask again later", {"Retry-After": "1"})
        except SourceError as error:  # what only the model's kind can tell, such as a question that is missing
            return problem(422, str(error))
        finally:
            answering.cancel()
            leaving.cancel()
        number = hosted.version.version
        request.state.version = number
        answers = {"model": hosted.version.name, "version": number, "answers": said}
        return JSONResponse(answers, background=service.keep(number, question, said))

    predict.__annotations__ |= {"question": asked, "request": Request}  # the limits are known only now
    app.post("/predict", response_model=Answers, responses=refusals, dependencies=_token(service))(predict)


def _add_views(app: FastAPI, service: Service) -> None:
    page = PAGE.read_text("utf-8")
    guarded: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": REFUSALS[status]} for status in (401, 429)
    }

    @app.get("/", include_in_schema=False)
    async def try_it() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})

    @app.get("/model", responses=guarded, dependencies=_token(service))
    async def model() -> ModelDescription:
        """Describe the model that answers now."""
        return service.batcher.hosted.describe()

    @app.get("/healthz")
    async def healthz() -> Health:
        """Say that the process lives."""
        return Health(status="alive")

    @app.get("/readyz", responses={503: {"model": Health, "description": "the server stops"}})
    async def readyz() -> JSONResponse:
        """Say whether requests should be sent here."""
        health = Health(status="stopping" if service.stopping else "ready", detail=service.watcher.problem)
        return JSONResponse(health.model_dump(), 503 if service.stopping else 200)

    @app.get("/metrics", responses=guarded, response_class=PlainTextResponse, dependencies=_token(service))
    async def metrics() -> Response:
        """Tell Prometheus how the server does."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _token(service: Service) -> list[Any]:
    """Tell the OpenAPI page that a token is needed, where one is; the gate checks it."""
    return [Depends(HTTPBearer(auto_error=False))] if service.tokens else []


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _explain_question(_: Request, error: RequestValidationError) -> JSONResponse:
    errors = error.errors()
    if errors[0]["type"] == "json_invalid":
        return problem(400, f"the body is not JSON: {errors[0]['ctx']['error']} at position {errors[0]['loc'][-1]}")
    told = "; ".join(_told(each) for each in errors[:SHOWN])
    more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    return problem(422, told + more)


def _told(error: dict[str, Any]) -> str:
    place = ".".join(str(part)[:40] for part in error["loc"][1:])
    match error["type"]:
        case "string_pattern_mismatch":
            return f"{place} is blank; expected words"
        case "string_unicode":
            return f"{place} holds half of a surrogate pair, which is no character; send whole ones"
        case "extra_forbidden":
            return f"{place} is not known; expected texts, pairs, top"
        case "value_error":
            return str(error["ctx"]["error"])
        case _ if not place:
            return 'the body is no JSON object; send {"texts": ["..."]} with Content-Type: application/json'
        case "missing":
            return f'{place} is missing; send {{"texts": ["..."]}}'
        case "too_short":
            return f"{place} is empty; expected at least one text"
        case "too_long":
            return f"{place} is too long a list; expected at most {error['ctx']['max_length']:,} texts"
        case "string_too_long":
            return f"{place} is too long; expected at most {error['ctx']['max_length']:,} characters"
    # What was received is told by its type alone: it may hold anything, and long.
    expected = {"texts": "a list of texts", "pairs": "a list of texts", "top": f"a whole number from 1 to {MOST_TOP}"}
    return f"{place}: received {_type_of(error['input'])}; expected {expected.get(place, 'text')}"


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
    return "a list" if isinstance(value, list) else "an object"


async def _explain_http(_: Request, error: HTTPException) -> JSONResponse:
    detail = str(error.detail)
    match error.__cause__:
        case RecursionError():
            detail = "the body is nested too deeply; expected one object with lists of texts"
        case UnicodeDecodeError() as cause:
            detail = f"the body is not UTF-8: byte {cause.object[cause.start]:#04x} at position {cause.start}"
        case ValueError() as cause:
            detail = f"the body is not JSON that can be read: {cause}"
    return problem(error.status_code, detail, dict(error.headers or {}))


async def _explain_error(_: Request, __: Exception) -> JSONResponse:
    return problem(500, "an error of the server; its log has the traceback")
