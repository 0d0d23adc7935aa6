"""Runs the application: from the model's name to the last answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from pipeline.cluster.place import end_now
from pipeline.errors import TradewindError
from pipeline.formats.formats import KERAS
from pipeline.monitoring.log import AnswerLog
from pipeline.registry import Registry, Version
from pipeline.serving.app import Service, make_app
from pipeline.serving.batching import Batcher
from pipeline.serving.connection import make_protocol
from pipeline.serving.hosted import Hosted
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.watcher import Watcher

BACKLOG = 2048
logger = logging.getLogger("tradewind")


def make_service(
    registry: Registry,
    version: Version,
    alias: str | None,
    limits: Limits,
    tokens: Collection[str],
    interval: float,
    log: AnswerLog | None = None,
    format: str = KERAS,  # noqa: A002
) -> Service:
    """Load a version and return what answers with it and follows its alias; without an alias it stays with it."""
    gc.freeze()  # the objects of the libraries stay; to look through them again and again held up requests for 0.6 s
    load = partial(Hosted.load, alias=alias or "", limits=limits, format=format)
    hosted, metrics = load(version), Metrics()
    metrics.serving(hosted.describe())
    batcher = Batcher(hosted, limits, metrics)
    watcher = Watcher(registry, batcher, load, interval if alias else math.inf, metrics)
    return Service(batcher, watcher, limits, tokens, metrics, log)


class Server(uvicorn.Server):
    """Stops on a signal without an answer lost, and then ends as a success.

    Args:
        service: asked to answer.
        drain: seconds from the signal during which connections are still accepted, so that a balancer that asks
            `/readyz` has time to send its requests elsewhere.
        grace: seconds for the requests at work to be answered after that.
        proxy: address whose X-Forwarded-For is believed; None for no one's.
    """

    def __init__(self, service: Service, drain: float, grace: int, proxy: str | None) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=make_protocol(service.limits.head_seconds),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=proxy is not None,
                forwarded_allow_ips=proxy,
                limit_concurrency=service.limits.most_connections,
                timeout_graceful_shutdown=grace,
                backlog=BACKLOG,
            )
        )
        self.service = service
        self.drain = drain

    def end(self) -> None:
        """End the process as a success; at once when a thread is stuck, which the interpreter would not survive."""
        if self.service.batcher.worker.busy or self.service.watcher.worker.busy:
            end_now(0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM; uvicorn would raise them again at the end, and so end as a failure."""
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn names them)
        """Stop at the first signal; at the second one at once."""
        if self.service.stopping_since is not None:
            self.should_exit = self.force_exit = True
        else:
            self.service.stop()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop now."""
        since = self.service.stopping_since
        if since is not None and time.monotonic() >= since + self.drain:
            self.should_exit = True
        return bool(await super().on_tick(counter))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the connections that wait to be accepted, then stop: to close with some waiting would reset them."""
        late = [connection for listener in sockets or [] for connection in _waiting(listener)]
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in late:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    listener.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection


def bind(host: str, port: int) -> socket.socket:
    """Return a socket of this address that does not listen yet. Raises TradewindError: it is taken or not ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise TradewindError(
            f"{host} port {port} cannot be used: {error.strerror or error}; choose another: tradewind serve --host "
            "HOST --port PORT"
        ) from None
    return listener


def read_tokens(file: Path | None, secret: str | None) -> list[str]:
    """Return the tokens of a file, one a line, and of the environment; none when neither is given.

    Raises TradewindError: the file cannot be read or holds none.
    """
    tokens = (secret or "").split()
    if file is not None:
        try:
            tokens += file.read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise TradewindError(f"--token-file {file} cannot be read ({error}); expected one token a line") from error
        if not tokens:
            raise TradewindError(f"--token-file {file} holds no token; expected one a line")
    if not all(token.isascii() for token in tokens):
        raise TradewindError("a token has characters beyond ASCII, which a header cannot carry; make tokens of ASCII")
    return tokens
