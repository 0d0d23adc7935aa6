"""Tells people what happened, through the connections that a recipe names: Slack, mail, Teams, a webhook, and more.

A connection is of the type `apprise`, and holds the address with its secret: a recipe has neither.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, Connection, get_current_context
from airflow.sdk.exceptions import AirflowNotFoundException

from pipeline.config import Recipe
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from airflow.sdk import Context

logger = logging.getLogger("tradewind")

# What is said of each event: title, text, and how grave it is.
MESSAGES = {
    "failure": ("a run has failed", "{{ run_id }}: {{ exception }}\n{{ ti.log_url }}", "failure"),
    "drift": ("a model is asked other texts than it knows", "{{ exception }}\n{{ ti.log_url }}", "warning"),
    "approval": ("a person is asked whether a model is published", "{{ task.subject }}\n{{ ti.log_url }}", "info"),
    "published": (
        "{{ published.model }} has a new champion",
        "Version {{ published.version }}, by {{ run_id }}",
        "success",
    ),
    "success": ("a run has ended well", "{{ run_id }}\n{{ ti.log_url }}", "success"),
}
ENDED = ("success", "failed")  # states of a run
EXAMPLE = '{"config": {"path": "slack://TOKEN_A/TOKEN_B/TOKEN_C/#training"}}'


class Notifier(BaseNotifier):
    """Sends one message.

    Args:
        connection: str. Name of an Airflow connection of the type apprise.
        title: str. Template.
        body: str. Template.
        severity: str. One of Apprise's: info, success, warning, failure.
    """

    template_fields: Sequence[str] = ("title", "body")

    def __init__(self, connection: str, title: str, body: str, severity: str = "info", **more: Any) -> None:
        super().__init__(**more)
        self.connection = connection
        self.title = title
        self.body = body
        self.severity = severity

    def notify(self, context: Context) -> None:  # noqa: ARG002 (given by Airflow)
        """Send the message. Raises RuntimeError: not all of the connection's services took it."""
        from airflow.providers.apprise.hooks.apprise import AppriseHook
        from apprise import Apprise

        hook, services = AppriseHook(self.connection), Apprise()
        hook.set_config_from_conn(hook.get_connection(self.connection), services)
        # Apprise says so by a return value, which the provider's own notifier drops.
        if not services.notify(title=self.title, body=self.body, notify_type=self.severity):
            raise RuntimeError(f"the connection {self.connection} did not take the message {self.title!r}")


class Lateness(Notifier):
    """Tells of a run that is late; Airflow asks for that of a run that has failed in time, too (3.3.2)."""

    def notify(self, context: Context) -> None:
        """Send the message, unless the run has ended. Raises RuntimeError: not all of the services took it."""
        run: Any = context["dag_run"]  # of a deadline, a mapping
        if run["state"] in ENDED:
            logger.info("nobody is told that %s is late: it has ended (%s)", run["dag_run_id"], run["state"])
        else:
            super().notify(context)


class Announcement(Notifier):
    """Tells of what has happened already: when it cannot be sent, that is an error in the log, and fails nothing."""

    def __call__(self, *args: Any) -> None:
        """Send the message."""
        try:
            super().__call__(*args)
        except Exception:
            logger.exception("nobody was told through the connection %s", self.connection)


def notifiers(recipe: Recipe, event: str) -> list[Announcement]:
    """Return what tells those whom the recipe names of an event, as callbacks of a task; none when nobody asked."""
    notify = recipe.airflow.notify
    if event not in notify.on:
        return []
    title, body, severity = MESSAGES[event]
    return [Announcement(connection, f"{recipe.name}: {title}", body, severity) for connection in notify.to]


def tell(recipe: Recipe, event: str, **facts: Any) -> None:
    """Tell those whom the recipe names of an event, from within a task."""
    for notifier in notifiers(recipe, event):
        notifier({**get_current_context(), **facts})


def require_connections(recipe: Recipe) -> None:
    """Raise RecipeError unless every connection that the recipe names is there: better known before than after."""
    for name in recipe.airflow.notify.to:
        try:
            connection = Connection.get(name)
        except AirflowNotFoundException:
            raise RecipeError(
                f"airflow.notify.to names the connection {name!r}, which Airflow does not have; add it under Admin, "
                f"Connections, or: airflow connections add {name} --conn-type apprise --conn-extra '{EXAMPLE}'"
            ) from None
        extra = json.loads(connection.extra or "{}")
        if connection.conn_type != "apprise" or not extra.get("config"):
            raise RecipeError(
                f"airflow.notify.to names the connection {name!r}, which is of the type {connection.conn_type!r} and "
                f"holds {', '.join(extra) or 'nothing'}; expected the type apprise, with the extra {EXAMPLE}"
            )
