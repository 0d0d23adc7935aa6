"""The part of a run that registers a model, and brings it to the targets that it goes to besides."""

from __future__ import annotations

import logging

from pipeline.approval import Approvals
from pipeline.config.target_urls import filled_target
from pipeline.delivery import deliver_all, require_targets
from pipeline.errors import PublishError
from pipeline.outcome import read_metrics
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

    def register(self, task: str) -> Version:
        """Register the published export of a task, move the champion to it, and bring it to the recipe's targets.

        The second time nothing happens, but for targets that have failed.

        Raises:
            DeliveryError: a target failed; the champion has moved all the same.
            PublishError: it waits for a person, the registry refused it, or the champion has changed since the verdict.
        """
        publish, gate = self._made("publish", task), self._made("gate", task)
        finetune, evaluation = self._made("finetune", task), self._made("evaluate", task)
        against = self._record()["nodes"].get(node_name("champion", task), {}).get("version")
        metrics = {name: value for name, value in read_metrics(evaluation.path).items() if isinstance(value, float)}
        notes = {"forced": reason} if (reason := publish.result.get("forced")) else {}
        if decision := self.decision(task):
            notes["approved"] = decision.text
        with self._guarded():
            if refused := self.stays_back(task):
                raise PublishError(
                    f"{task} is not published: {refused}. A person approves it in Airflow, or by: tradewind run RECIPE "
                    f"--task {task} --approve REASON"
                )
            version = self.registry.publish(
                self.model_name(task),
                publish.path / "export",
                fingerprint=finetune.fingerprint,
                publish_reference=publish.reference,
                expected_champion=against,
                tags={"gate": gate.reference, "task": task} | self.lineage(publish, finetune) | notes,
                metrics=metrics,
                params={
                    "seed": self.recipe.seed,
                    "size": self.recipe.model.size,
                    "backend": self.recipe.runtime.backend,
                },
                experiment=self.recipe.name,
                who=decision.who if decision else None,
            )
        entry = self._record()["nodes"][node_name("publish", task)]
        self.store.runs.record(self.run_id, node_name("publish", task), entry | {"version": version.version})
        self.deliver(task, version)
        return version

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
