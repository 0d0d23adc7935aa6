"""The Hugging Face Hub: each version is one commit of a repository, with a tag and a model card."""

from __future__ import annotations

import json
from importlib.metadata import version as package_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pipeline.delivery.target import missing
from pipeline.judge.names import HEADLINES
from pipeline.registry import Version
from pipeline.store.files import list_files

PIPELINES = {
    "classification": "text-classification",
    "multi_label": "text-classification",
    "regression": "text-classification",
    "tagging": "token-classification",
    "question_answering": "question-answering",
    "generation": "text-generation",
}


class HuggingFace:
    """A model repository; one that is not there yet is made, private.

    Args:
        url: hf://OWNER/NAME.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.repository = url.partition("://")[2]

    def require(self) -> None:
        """Raise RecipeError: there is no token."""
        import huggingface_hub

        if huggingface_hub.get_token() is None:
            raise missing(self.url, "there is no token for it", "set HF_TOKEN to one that may write, or: hf auth login")

    def push(self, version: Version) -> str:
        """Commit the version's files and a model card in place of the last version's; return the commit's page."""
        import huggingface_hub

        api = huggingface_hub.HfApi(library_name="tradewind", library_version=package_version("tradewind"))
        api.create_repo(self.repository, private=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            for name, path in list_files(version.bundle).items():
                link = Path(folder, name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
            Path(folder, "README.md").write_text(model_page(version), "utf-8")
            commit = api.upload_folder(
                repo_id=self.repository,
                folder_path=folder,
                delete_patterns="*",  # what only the last version had
                commit_message=f"{version.name} version {version.version}",
            )
        api.create_tag(self.repository, tag=f"v{version.version}", revision=commit.oid, exist_ok=True)
        return str(commit.commit_url)


def model_page(version: Version) -> str:
    """Return the model card with the YAML header that the hub reads: library, licence, tags, metrics."""
    from huggingface_hub import EvalResult, ModelCardData

    metrics = _read(version, "metrics.json")
    recipe = yaml.safe_load((version.bundle / "recipe.yaml").read_text("utf-8"))
    kind, task = metrics["kind"], recipe["tasks"][metrics["task"]]
    results = [
        EvalResult(
            task_type=PIPELINES[kind],
            dataset_type=recipe["name"],
            dataset_name=f"{recipe['name']}, {task['data']['source']}",
            dataset_split="test",
            metric_type=name,
            metric_value=round(metrics[name], 6),
        )
        for name in HEADLINES[kind]
        if metrics.get(name) is not None
    ]
    data = ModelCardData(
        model_name=version.name,
        library_name="keras",
        license=recipe.get("publish", {}).get("license"),
        pipeline_tag=PIPELINES[kind],
        tags=["tradewind", kind.replace("_", "-")],
        eval_results=results,
    )
    card = (version.bundle / "MODEL_CARD.md").read_text("utf-8")
    return f"---\n{data.to_yaml()}\n---\n\n{card}"


def _read(version: Version, file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((version.bundle / file).read_text("utf-8"))
    return found
