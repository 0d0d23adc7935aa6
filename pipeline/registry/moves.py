"""Who is champion, changed by hand or by a run; each move of the alias is kept as a tag of the version it went to."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.errors import PublishError
from pipeline.registry.reader import Record

if TYPE_CHECKING:
    from pipeline.registry.registry import Registry
    from pipeline.registry.version import Version

CANDIDATE = "candidate"
CHAMPION = "champion"
PREVIOUS = "previous"
MOVE = "tradewind.move."
WITHDRAWN = "tradewind.withdrawn"
LONGEST_REASON = 2000  # characters; a tag of MLflow holds 8000


@dataclass(frozen=True)
class Move:
    """One move of the alias `champion`.

    Attributes:
        how: str. `publish`, `promote` or `rollback`.
        version: str. Who became champion.
        before: str or None. Who was it until then.
        who: str. Who moved it: a user of Airflow, or else the user of the process.
        why: str.
        when: str. ISO 8601, UTC.
    """

    how: str
    version: str
    before: str | None
    who: str
    why: str
    when: str

    @classmethod
    def now(cls, how: str, version: str, before: str | None, why: str, who: str | None = None) -> Move:
        """Return a move made at this moment, by this process's user unless it is said by whom."""
        return cls(how, version, before, who or whoami(), why[:LONGEST_REASON], datetime.now(UTC).isoformat())

    @property
    def tag(self) -> tuple[str, str]:
        """Key and value of the tag that keeps it."""
        return MOVE + self.when.replace(":", "").replace("+0000", "Z"), json.dumps(asdict(self), ensure_ascii=False)


def whoami() -> str:
    """Return the name of the user whom this process belongs to."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return f"user {os.getuid()}"


def moves_of(records: Iterable[Record]) -> list[Move]:
    """Return every move among a model's versions, oldest first."""
    texts = [text for record in records for key, text in record.tags.items() if key.startswith(MOVE)]
    return sorted((Move(**json.loads(text)) for text in texts), key=lambda move: move.when)


def served_before(moves: Iterable[Move], version: str) -> str | None:
    """Return who was champion until `version` last became it other than by a rollback; None when nobody was."""
    promoted = [move for move in moves if move.version == version and move.how != "rollback"]
    return promoted[-1].before if promoted else None


def promote(registry: Registry, model: str, version: str, why: str, who: str | None = None) -> Version:
    """Make a registered version the champion by hand; who (default: this process's user), when and why are kept.

    Raises:
        IntegrityError: its files are not those that were registered, or lack the signature that is asked for.
        PublishError: no reason, no such version, its files are gone, or it is the champion already.
    """
    with registry.errors(f"promote {model!r}"), registry.mlflow.lock():
        chosen, champion = registry.version(model, version), registry.champion(model)
        chosen.checked_bundle()
        current = champion.version if champion else None
        if current == version:
            raise PublishError(f"{model!r} version {version} is the champion already; there is nothing to promote")
        move = Move.now("promote", version, current, _reason(why), who)
        if chosen.withdrawn is not None:
            registry.mlflow.client.delete_model_version_tag(model, version, WITHDRAWN)
        move_champion(registry, model, move, current)
        return registry.version(model, version)


def rollback(registry: Registry, model: str, why: str, who: str | None = None, expected: str | None = None) -> Version:
    """Let the previous champion serve again; the present one is marked, so that no run publishes it by itself.

    Args:
        registry: Registry. Where the model is.
        model: str. Its name.
        why: str. Kept with who (default: this process's user) and when.
        who: str or None. Who rolls it back.
        expected: str or None. The version that is to be taken back; None: whichever is champion.

    Raises:
        IntegrityError: the earlier version's files are not those that were registered, or not signed.
        PublishError: no reason, no champion or another than the expected one, nobody served before it, or the earlier
            version's files are gone.
    """
    with registry.errors(f"roll back {model!r}"), registry.mlflow.lock():
        champion, earlier = registry.champion(model), registry.aliased(model, PREVIOUS)
        if champion is not None and expected not in (None, champion.version):
            raise PublishError(
                f"{model!r} version {expected} is no longer the champion, version {champion.version} is; nothing was "
                "rolled back. Look at the model as it is now, and decide again"
            )
        if champion is None or earlier is None:
            known = ", ".join(version.version for version in registry.versions(model)) or "none"
            lacking = "champion to go back from" if champion is None else "previous version to go back to"
            raise PublishError(
                f"{model!r} has no {lacking}; registered versions: {known}. Name the one that shall serve: "
                f"tradewind models promote {model}:VERSION --why REASON"
            )
        earlier.checked_bundle()
        move = Move.now("rollback", earlier.version, champion.version, _reason(why), who)
        note = f"{move.why} ({move.who}, {move.when[:16]} UTC)"
        registry.mlflow.client.set_model_version_tag(model, champion.version, WITHDRAWN, note)
        move_champion(registry, model, move, served_before(registry.moves(model), earlier.version))
        return registry.version(model, earlier.version)


def move_champion(registry: Registry, model: str, move: Move, previous: str | None) -> None:
    """Move the aliases, champion last and in one write: what is cut off before leaves the champion serving."""
    client, held = registry.mlflow.client, registry.aliases(model)
    client.set_model_version_tag(model, move.version, *move.tag)
    if previous:
        client.set_registered_model_alias(model, PREVIOUS, previous)
    elif PREVIOUS in held:
        client.delete_registered_model_alias(model, PREVIOUS)
    client.set_registered_model_alias(model, CHAMPION, move.version)
    if held.get(CANDIDATE) == move.version:
        client.delete_registered_model_alias(model, CANDIDATE)


def _reason(why: str) -> str:
    if not why.strip():
        raise PublishError("the reason is empty; say in a few words why the champion changes: --why REASON")
    return why.strip()
