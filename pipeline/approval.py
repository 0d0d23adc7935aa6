"""A person's yes or no between the gate and publishing: who is asked about, what was said, and what follows from it."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from pipeline.errors import StoreError
from pipeline.nodes import Nodes
from pipeline.steps import node_name

APPROVAL = "approval"  # its node in the record of a run; no step, and no artifact


@dataclass(frozen=True)
class Decision:
    """What became of a question to a person.

    Attributes:
        approved: bool. Whether the candidate is published.
        candidate: str. Reference of the model that was asked about.
        verdict: str. The gate's.
        who: str or None. Who answered; None: nobody did in time.
        why: str.
        when: str. ISO 8601, UTC.
    """

    approved: bool
    candidate: str
    verdict: str
    who: str | None
    why: str
    when: str

    @property
    def text(self) -> str:
        """The decision as one sentence."""
        word = "approved" if self.approved else "rejected"
        return f"{word} by {self.who or 'default'}, {self.when[:16].replace('T', ' ')} UTC: {self.why}"


class Approvals(Nodes):
    """The part of a run that knows what is published, and what waits for a person."""

    def stays_back(self, task: str) -> str | None:
        """Return why the candidate of a task is not published; None when it is to be."""
        if self.force is not None:
            return None
        if self.verdict(task) == "fail":
            return "the gate refused it"
        if decision := self.decision(task):
            return None if decision.approved else f"it was {decision.text}"
        if self.waits(task):
            return "it waits for a person's approval"
        return "the gate asks for a person's review" if self.verdict(task) == "needs_review" else None

    def waits(self, task: str) -> bool:
        """Return whether the candidate of a task is to be shown to a person before it is published."""
        if self.recipe.publish.approval is None or self.force is not None:
            return False
        if self.verdict(task) == "fail" or self.decision(task):
            return False
        return not self.registry.is_settled(self.model_name(task), self._made("finetune", task).fingerprint)

    def ask(self, task: str) -> bool:
        """Forget what this run was told about a task; return whether a person is to be asked (again).

        Nobody is when a person has rejected this very candidate in an earlier run: that goes on to hold.
        """
        node = node_name(APPROVAL, task)
        self.store.runs.record(self.run_id, node, {"status": "awaiting"})
        earlier, asked = self._rejected_before(task), self.waits(task)
        if earlier or not asked:
            self.store.runs.record(self.run_id, node, _entry(earlier) if earlier else {"status": "nobody asked"})
        return asked and not earlier

    def decide(self, task: str, approved: bool, who: str | None, why: str) -> Decision:
        """Record whether the candidate of a task is published.

        Raises:
            StoreError: the gate has refused the candidate or not judged it yet, or there is no reason.
        """
        verdict, candidate = self.verdict(task), self._made("finetune", task).reference
        if verdict == "fail":
            raise StoreError(f"the gate has refused the candidate of {task}: that can be forced, and not approved")
        if not why.strip():
            raise StoreError(f"the reason is empty; say in a few words why {task} is published, or is not")
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        made = Decision(approved, candidate, verdict, who, why.strip(), moment)
        self.store.runs.record(self.run_id, node_name(APPROVAL, task), _entry(made))
        return made

    def decision(self, task: str) -> Decision | None:
        """Return what this run was told about the candidate of a task; None when it was not told yet."""
        return _decision(self._record(), task, self._made("finetune", task).reference)

    def approved(self, task: str) -> Self:
        """Return this run as it publishes a task: by force, where a person has approved what the gate handed to one."""
        decision = self.decision(task)
        if self.force is not None or not (decision and decision.approved and decision.verdict == "needs_review"):
            return self
        forced = copy(self)
        forced.force = decision.text
        return forced

    def verdict(self, task: str) -> str:
        """Return the gate's verdict on the candidate of a task."""
        return str(self._made("gate", task).result["verdict"])

    def judged(self, task: str) -> dict[str, Any]:
        """Return what the gate has written about the candidate of a task."""
        found: dict[str, Any] = json.loads((self._made("gate", task).path / "gate.json").read_text("utf-8"))
        return found

    def _rejected_before(self, task: str) -> Decision | None:
        """Return a person's last word on this very candidate, when it was a no."""
        candidate = self._made("finetune", task).reference
        told = (_decision(record, task, candidate) for record in self.store.runs.list())
        last = next((decision for decision in told if decision and decision.who), None)
        return last if last and not last.approved else None


def _entry(decision: Decision) -> dict[str, Any]:
    return asdict(decision) | {"status": "approved" if decision.approved else "rejected"}


def _decision(record: dict[str, Any], task: str, candidate: str) -> Decision | None:
    entry = dict(record["nodes"].get(node_name(APPROVAL, task), {}))
    entry.pop("status", None)
    return Decision(**entry) if entry.get("candidate") == candidate else None
