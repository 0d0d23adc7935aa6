"""What Airflow shows of Tradewind: a tab with the report on each DAG run, and a page of the registry's models.

Every process of Airflow loads this file; the pages themselves are made by the API server when the first one is asked
for, and read the store and the registry then.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/tradewind"


class LateApp:
    """An ASGI application that is imported when it is first asked."""

    @cached_property
    def app(self) -> Any:
        """The pages."""
        from airflow_plugin.pages import app

        return app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        await self.app(scope, receive, send)


class TradewindPlugin(AirflowPlugin):
    """The pages, and where Airflow links to them."""

    name = "tradewind"
    fastapi_apps = [{"app": LateApp(), "url_prefix": PREFIX, "name": "Tradewind"}]
    external_views = [
        {
            "name": "Run report",
            "href": f"{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}/report",
            "destination": "dag_run",
            "url_route": "run_report",
        },
        {
            "name": "Models",
            "href": f"{PREFIX}/models",
            "destination": "nav",
            "url_route": "models",
            "nav_top_level": True,
        },
    ]
