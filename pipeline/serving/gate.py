"""What every request passes before the application sees it: token, rate, and a body that is whole and small enough."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics

OPEN = ("/", "/healthz", "/readyz", "/docs", "/openapi.json", "/redoc")
GUARDED = ("/predict", "/model", "/metrics")
DRAINED = 16  # times the largest body: so much of one too large is read, so that its sender gets to hear why
access = logging.getLogger("tradewind.access")


class Refused(Exception):
    """A request that is not let in."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class Gate:
    """ASGI middleware in front of the application.

    Attributes:
        app: ASGIApp. What comes behind.
        limits: Limits. Of bodies and of the rate.
        tokens: collection of str. One of them must be sent to ask the model; empty for none.
        metrics: Metrics. Told of every request.
        stopping: callable. Says whether the server stops: connections are then closed with their next answer, so that
            none is cut off with a request on its way.
        windows: SlidingWindowCounterRateLimiter. Counts each client's requests.
    """

    app: ASGIApp
    limits: Limits
    tokens: Collection[str]
    metrics: Metrics
    stopping: Callable[[], bool]
    windows: SlidingWindowCounterRateLimiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in or refuse it, then count and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.stopping():
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._let_in(scope, receive, noting)
        finally:
            path = scope["path"] if scope["path"] in OPEN + GUARDED else "other"
            seconds = time.perf_counter() - start
            self.metrics.request(path, status, seconds)
            if access.isEnabledFor(logging.INFO):
                access.info(_line(scope, status, seconds))

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] in GUARDED:
                self._check(scope)
            body = await self._body(receive) if scope["method"] == "POST" else b""
        except Refused as refused:
            await problem(refused.status, refused.detail, refused.headers)(scope, receive, send)
            return
        except ConnectionError:  # the client is gone; there is nobody to answer
            return
        await self.app(scope, receive if scope["method"] != "POST" else _replayed(body, receive), send)

    def _check(self, scope: Scope) -> None:
        """Note who asks in `scope["state"]`; raise Refused when the token is wrong or it asks too often."""
        client = scope["client"][0] if scope["client"] else "unknown"
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        known = bool(self.tokens) and scheme.lower() == "bearer" and _is_one_of(token.strip(), self.tokens)
        if known:  # people behind one address are told apart by their tokens
            client = "token " + hashlib.sha256(token.strip().encode()).hexdigest()[:12]
        scope.setdefault("state", {})["client"] = client
        rate = self.limits.rate
        if rate and not self.windows.hit(rate, client):
            wait = max(1, math.ceil(self.windows.get_window_stats(rate, client).reset_time - time.time()))
            raise Refused(429, f"more requests than {rate}; ask again in {wait} s", Retry_After=str(wait))
        if self.tokens and not known:
            raise Refused(
                401,
                "no known token; send one in the header `Authorization: Bearer TOKEN`",
                WWW_Authenticate="Bearer",
            )

    async def _body(self, receive: Receive) -> bytes:
        most = self.limits.most_bytes
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    size += len(message.get("body", b""))
                    if size <= most:
                        chunks.append(message.get("body", b""))
                    if not message.get("more_body", False) or size > DRAINED * most:
                        break
        except TimeoutError:
            detail = f"the body has not arrived whole within {self.limits.body_seconds:g} s"
            raise Refused(408, detail, Connection="close") from None
        if size > most:
            raise Refused(413, f"the body is larger than {most:,} bytes; send fewer texts at once", Connection="close")
        return b"".join(chunks)


def make_gate(
    app: ASGIApp, limits: Limits, tokens: Collection[str], metrics: Metrics, stopping: Callable[[], bool]
) -> Gate:
    """Return the middleware around an application."""
    return Gate(app, limits, tokens, metrics, stopping, SlidingWindowCounterRateLimiter(MemoryStorage()))


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a response that says why a request was not answered; what JSON cannot carry is replaced."""
    return JSONResponse({"detail": detail.encode("utf-8", "replace").decode()}, status, headers)


def _is_one_of(token: str, tokens: Collection[str]) -> bool:
    """Return whether the token is known, in a time that does not tell how much of it is right."""
    return sum(hmac.compare_digest(token.encode(), known.encode()) for known in tokens) > 0


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _line(scope: Scope, status: int, seconds: float) -> str:
    entry: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "client": scope["client"][0] if scope["client"] else None,
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "milliseconds": round(seconds * 1000, 2),
    }
    noted = scope.get("state", {})
    return json.dumps(entry | {name: noted[name] for name in ("texts", "version") if name in noted})
