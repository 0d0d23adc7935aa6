"""`tradewind serve`: answer over HTTP with a published model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import Settings
from pipeline.config.preprocess import PERSONAL
from pipeline.formats.formats import FORMATS, KERAS
from pipeline.registry import CHAMPION, Registry

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 8000


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("serve")(serve)


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL[@ALIAS|:VERSION]",
            help="Published model; default: the champion of the only one. An alias is followed when it moves.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = LOOPBACK[0],
    port: Annotated[int, typer.Option(min=1, max=65_535)] = DEFAULT_PORT,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Tokens, one a line; or set TRADEWIND_SERVE_TOKENS. Default: none needed."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="N/TIME", help="Requests of one client, such as 600/minute. Default: any.")
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, metavar="N", help="Texts that the model is asked at once.")] = 64,
    max_texts: Annotated[int, typer.Option(min=1, metavar="N", help="Texts of one request.")] = 64,
    max_characters: Annotated[int, typer.Option(min=1, metavar="N", help="Of one text.")] = 20_000,
    max_bytes: Annotated[int, typer.Option(min=1, metavar="N", help="Of the body of a request.")] = 1_000_000,
    max_wait: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Then a request gets 503 instead of its answer.")
    ] = 10.0,
    queue: Annotated[int, typer.Option(min=1, metavar="N", help="Texts that may wait; more get 503.")] = 1024,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks where the alias points to.")
    ] = 10.0,
    drain: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="At SIGTERM: go on accepting so long, with /readyz at 503.")
    ] = 1.0,
    grace: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="At SIGTERM: the longest wait for requests at work.")
    ] = 30,
    trusted_proxy: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Believe its X-Forwarded-For about who the client is.")
    ] = None,
    log_answers: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="SHARE", help="Of the texts and answers kept for `tradewind monitor`."),
    ] = 0.0,
    redact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help=f"Personal data to replace in what is kept: {', '.join(PERSONAL)}; repeat it."
        ),
    ] = None,
    format: Annotated[  # noqa: A002 (typer names the option after it)
        str, typer.Option(metavar="FORMAT", help=f"What the version is opened in: {', '.join(FORMATS)}.")
    ] = KERAS,
    access_log: Annotated[bool, typer.Option("--access-log", help="Write a JSON line for each request.")] = False,
) -> None:
    """Answer over HTTP with a published model, and with the next one when its alias moves.

    Example: tradewind serve icd10-chapter --port 8000
    """
    # Inside, so that the command line starts without them.
    from pipeline.backend import select_backend
    from pipeline.monitoring.log import AnswerLog
    from pipeline.predict import find_model
    from pipeline.serving.limits import Limits, read_rate
    from pipeline.serving.server import Server, bind, make_service, read_tokens
    from pipeline.training.compile_cache import keep_compiled

    if unknown := sorted({*(redact or ())} - {*PERSONAL}):
        raise typer.BadParameter(f"--redact is {unknown[0]!r}; expected one of {', '.join(PERSONAL)}")
    settings = Settings()
    limits = Limits(
        most_bytes=max_bytes,
        most_texts=max_texts,
        longest_text=max_characters,
        max_batch=max_batch,
        most_waiting=queue,
        max_wait=max_wait,
        rate=read_rate(rate) if rate else None,
    )
    secret = settings.serve_tokens
    tokens = read_tokens(token_file, secret.get_secret_value() if secret else None)
    registry = Registry.for_workspace(settings)
    version = find_model(registry, model, "tradewind serve")
    with bind(host, port) as listener:
        write_log(access_log)
        if format == KERAS:
            keep_compiled(select_backend("auto"), settings.workspace / "cache" / "compiled")
        alias = None if ":" in (model or "") else (model or "").partition("@")[2] or CHAMPION
        folder, kinds = settings.workspace / "served" / version.name, list(redact or ())
        log = AnswerLog(folder, version.name, log_answers, kinds) if log_answers else None
        service = make_service(registry, version, alias, limits, tokens, interval, log, format)
        server = Server(service, drain, grace, trusted_proxy)
        if not tokens and host not in LOOPBACK:
            typer.secho("no token needed: whoever reaches the address can ask (--token-file)", fg="yellow", err=True)
        typer.echo(f"{version.name} version {version.version} answers at http://{host}:{port} (Ctrl-C stops)")
        server.run(sockets=[listener])
    typer.echo("Stopped.")
    server.end()


def write_log(access_log: bool) -> None:
    """Write the server's log to stderr, and the lines of the requests to stdout when asked to."""
    told = logging.StreamHandler()
    told.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("tradewind", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [told], False
        logger.setLevel(level)
    access = logging.getLogger("tradewind.access")
    lines = logging.StreamHandler(typer.get_text_stream("stdout"))
    access.handlers, access.propagate = [lines], False
    access.setLevel(logging.INFO if access_log else logging.WARNING)
