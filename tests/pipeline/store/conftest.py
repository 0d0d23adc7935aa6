from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Recipe
from pipeline.store import Artifact, Factors, Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root)


@pytest.fixture
def factors() -> Factors:
    return Factors("pretrain", {"seed": 17, "model": {"size": "tiny"}}, {"tokens": "c" * 64}, "s" * 64)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "name": "tiny",
            "data": {
                "sources": {
                    "rows": {"kind": "files", "path": "rows.csv"},
                    "more": {"kind": "files", "path": "more.csv"},
                },
                "corpus": ["rows"],
            },
            "tasks": {
                "chapter": {"data": {"source": "rows", "label": "chapter"}},
                "billable": {"data": {"source": "rows", "label": "billable"}},
            },
        }
    )


@pytest.fixture
def make(store: Store) -> Callable[..., Artifact]:
    """Makes an artifact of the given step, recipe values and inputs, holding `text`."""

    def make_artifact(
        step: str = "pretrain", text: str = "weights", inputs: dict[str, str] | None = None, **recipe: Any
    ) -> Artifact:
        def work(out: Path) -> dict[str, Any]:
            (out / "model.txt").write_text(text)
            return {"letters": len(text)}

        return store.run(step, Factors(step, recipe, inputs or {}, "source"), work)

    return make_artifact
