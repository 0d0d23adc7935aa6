"""Where an artifact came from and what was made of it, read from the manifests and the run records."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import StoreError
from pipeline.store.manifest import Manifest
from pipeline.store.store import Store


@dataclass(frozen=True)
class Lineage:
    """References on both sides: `made_from` by input name, `used_in` of artifacts made of it; and ids of runs."""

    made_from: dict[str, list[str]]
    used_in: list[str]
    runs: list[str]


def lineage(store: Store, manifest: Manifest) -> Lineage:
    """Return the artifacts and runs on both sides of an artifact.

    Manifests name inputs by content, so several artifacts with equal content all count as the origin. Artifacts with an
    unreadable manifest are left out: they are misses anyway.
    """
    others = _readable(store)
    reference = f"{manifest.step}/{manifest.fingerprint}"
    return Lineage(
        made_from={
            name: [other for other, its in others.items() if its.content == content]
            for name, content in manifest.inputs.items()
        },
        used_in=[other for other, its in others.items() if manifest.content in its.inputs.values()],
        runs=[record["run_id"] for record in store.runs.of(reference)],
    )


def _readable(store: Store) -> dict[str, Manifest]:
    found = {}
    for step, fingerprint in store.artifacts():
        reference = f"{step}/{fingerprint}"
        try:
            found[reference] = store.manifest(reference)
        except StoreError:
            continue
    return found
