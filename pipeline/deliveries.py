"""The part of a run that knows what the registry keeps of a model, and which targets it goes to besides."""

from __future__ import annotations

import logging

from pipeline.approval import Approvals
from pipeline.config.target_urls import filled_target
from pipeline.delivery import deliver_all, require_targets
from pipeline.registry import Version
from pipeline.steps import node_name
from pipeline.store import Artifact


class Deliveries(Approvals):
    """A run with its registry and its targets."""

    def check_publishing(self) -> None:
        """Check what publishing needs of this machine, before anything is trained.

        Raises:
            IntegrityError: the keys for signatures cannot be used, or are not a pair.
            RecipeError: a target lacks a library, a token, or a folder that can be written.
        """
        self.registry.keys.check()
        require_targets([url for task in self.recipe.tasks for url in self.targets(task)])

    def targets(self, task: str) -> list[str]:
        """Return where the champions of a task go besides the registry."""
        return [filled_target(url, self.recipe.name, task) for url in self.recipe.publish.targets]

    def lineage(self, publish: Artifact, finetune: Artifact) -> dict[str, str]:
        """Return what the registry keeps of where a model came from: its run, data, code, backbone and licence."""
        code = self.store.manifest(publish.reference)
        found = {
            "run": self.run_id,
            "recipe": self.recipe.name,
            "data": self._made("validate", None).content,
            "backbone": self._made("pretrain", None).reference,
            "finetune": finetune.reference,
            "code": f"{code.code.version} {code.code.commit or ''}".rstrip(),
            "source": code.source,
        }
        return found | ({"license": self.recipe.publish.license} if self.recipe.publish.license else {})

    def deliver(self, task: str, version: Version) -> None:
        """Bring a registered version to the targets that do not have it, and record where it is.

        Raises:
            DeliveryError: a target failed; the champion has moved all the same.
        """
        urls, node = self.targets(task), node_name("publish", task)
        if not urls or version.withdrawn is not None:
            return
        with self._guarded():
            made = deliver_all(self.registry, version, urls, logging.getLogger("tradewind").info)
        places = {delivery.url: delivery.place for delivery in made}
        self.store.runs.record(self.run_id, node, self._record()["nodes"][node] | {"delivered": places})

    def delivered(self, task: str) -> list[str]:
        """Return where this run has brought the model of a task."""
        return list(self._record()["nodes"].get(node_name("publish", task), {}).get("delivered", {}).values())
