"""The files of a registered version: an MLflow model folder around the proven export."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import yaml

from pipeline.errors import PublishError
from pipeline.registry.signature import example_of, signature_of

PYFUNC = Path(__file__).with_name("pyfunc.py")
CODE = PYFUNC.parents[2]


def write_model(folder: Path, export: Path, run_id: str, model_id: str) -> None:
    """Write the export as an MLflow model folder, without running it: `publish` has proven it already."""
    import mlflow.pyfunc
    from mlflow.models import Model

    # Given in full, so that MLflow does not run the model to find out what it imports.
    requirements = [f"mlflow=={version('mlflow')}", *(export / "requirements.txt").read_text("utf-8").split()]
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(PYFUNC),
        artifacts={"bundle": str(export)},
        code_paths=[str(CODE / "pipeline"), str(CODE / "models")],
        pip_requirements=requirements,
        signature=signature_of(export),
        input_example=example_of(export),
        mlflow_model=Model(run_id=run_id, model_id=model_id),
    )


def find_bundle(folder: Path, name: str) -> Path:
    """Return the folder of the export inside an MLflow model folder; `name` is for the error.

    Raises PublishError when it is not there.
    """
    try:
        description = yaml.safe_load((folder / "MLmodel").read_text("utf-8"))
        bundle = folder / str(description["flavors"]["python_function"]["artifacts"]["bundle"]["path"])
        if bundle.is_dir():
            return bundle
        reason = f"{bundle} is not a folder"
    except (OSError, UnicodeDecodeError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = f"MLmodel: {type(error).__name__}: {error}"
    raise PublishError(
        f"the files of {name} are missing or damaged in {folder} ({reason}); restore the folder from a backup, or "
        "delete the version in the registry and run the recipe again"
    )


def check_files(bundle: Path, export: Path, name: str) -> None:
    """Compare every file's sha256 with the export's; `name` is for the error. Raises PublishError: they differ."""
    expected, registered = _digests(export), _digests(bundle)
    every = sorted(expected.keys() | registered.keys())
    differing = [file for file in every if expected.get(file) != registered.get(file)]
    if differing:
        raise PublishError(
            f"{name} is registered, but its files differ from the proven export: {', '.join(differing)} in {bundle}; "
            "it is not made champion. Delete this version in the registry and run again: it is then registered afresh"
        )


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests
