"""Connections that send no request do not stay: uvicorn itself waits for the headers for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LAST_REQUEST_SECONDS = 1.0  # of a connection that was opened just before the server stopped


def make_protocol(seconds: float) -> type[asyncio.Protocol]:
    """Return a protocol that closes a connection whose headers are not whole after so many seconds."""

    class ImpatientProtocol(HttpToolsProtocol):
        """HTTP as uvicorn speaks it, with a bound for the headers."""

        def connection_made(self, transport: Any) -> None:
            """Wait for the first request."""
            super().connection_made(transport)
            self.asked = False
            self.waiting = self.loop.call_later(seconds, transport.close)

        def on_message_begin(self) -> None:
            """Wait for the headers of this request; until it began, keep-alive had its own bound."""
            self.waiting.cancel()
            self.waiting = self.loop.call_later(seconds, self.transport.close)
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            """Stop waiting; the body has a bound of its own."""
            self.asked = True
            self.waiting.cancel()
            super().on_headers_complete()

        def shutdown(self) -> None:
            """Let a connection that is open since a moment ago send its request; uvicorn would cut it off."""
            if not self.asked:
                self.waiting.cancel()
                self.waiting = self.loop.call_later(min(seconds, LAST_REQUEST_SECONDS), self.transport.close)
            else:
                super().shutdown()

        def connection_lost(self, error: Exception | None) -> None:
            """Stop waiting."""
            self.waiting.cancel()
            super().connection_lost(error)

    return ImpatientProtocol
