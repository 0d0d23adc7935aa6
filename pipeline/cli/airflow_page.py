"""The page of the local Airflow, asked as its user."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

USER = "admin"
CONFLICT = 409


class Page:
    """Airflow's page, asked as its user."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self.password = password
        self.token = ""
        self._opener = build_opener(ProxyHandler({}))

    def answers(self) -> bool:
        """Return whether the server answers."""
        return bool(self.health())

    def healthy(self) -> bool:
        """Return whether the server answers and all components are at work."""
        health = self.health()
        return bool(health) and all(part.get("status") == "healthy" for part in health.values())

    def health(self) -> dict[str, Any]:
        """Return what the server knows of each component; nothing while it does not answer."""
        try:
            return self.get("/api/v2/monitor/health")
        except OSError:  # what urllib raises, too
            return {}

    def log_in(self) -> None:
        """Get a token for the requests to come."""
        self.token = self.get("/auth/token", {"username": USER, "password": self.password})["access_token"]

    def make_pool(self, name: str, slots: int) -> None:
        """Make a pool, unless there is one of this name: tasks that name none that exists would wait for ever."""
        body = {"name": name, "slots": slots, "description": "steps that compute; one slot for each accelerator"}
        try:
            self.get("/api/v2/pools", body)
        except HTTPError as error:
            if error.code != CONFLICT:
                raise

    def get(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer to a request; one with a body is a POST."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = json.dumps(body).encode() if body else None
        with self._opener.open(Request(self.url + path, data, headers), timeout=20) as answer:  # noqa: S310 (our own)
            parsed: dict[str, Any] = json.load(answer)
        return parsed
