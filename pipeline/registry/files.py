"""The files of a registered version: an MLflow model folder around the proven export."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.errors import IntegrityError, PublishError
from pipeline.integrity import NO_KEYS, SEALS, SIGNATURE, Keys, write_manifest
from pipeline.registry.signature import example_of, signature_of

if TYPE_CHECKING:
    from pipeline.registry.version import Version

PYFUNC = Path(__file__).with_name("pyfunc.py")
CODE = PYFUNC.parents[2]
SIGNING = ("model-signing", "pyopenssl")


def write_model(folder: Path, export: Path, run_id: str, model_id: str, *, signed: bool) -> None:
    """Write the export as an MLflow model folder, without running it: `publish` has proven it already.

    One that is to be signed asks for what checks signatures.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    # Given in full, so that MLflow does not run the model to find out what it imports.
    own = ("mlflow", *(SIGNING if signed else ()))
    requirements = [
        *(f"{name}=={version(name)}" for name in own),
        *(export / "requirements.txt").read_text("utf-8").split(),
    ]
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


def seal(folder: Path, whose: Mapping[str, str], keys: Keys) -> str:
    """Write the manifest of the export in an MLflow model folder, sign it if there is a key; return its sha256."""
    bundle = find_bundle(folder, whose["model"])
    digest = write_manifest(bundle, whose)
    if keys.signing:
        keys.sign(bundle, bundle / SIGNATURE)
    return digest


def add_signature(version: Version, keys: Keys, client: Any) -> None:
    """Sign a registered version's files, and put the signature beside them in the registry's storage.

    Raises IntegrityError: the files are not those that were registered, or nobody knows because it has no manifest.
    """
    if not version.sealed:
        raise IntegrityError(
            f"{version.title} was registered without a manifest, so nobody knows whether its files are still the same; "
            "run its recipe again: it is then registered with one"
        )
    replace(version, keys=NO_KEYS).checked_bundle()
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    location = client.get_model_version_download_uri(version.name, version.version)
    model = next(parent for parent in version.bundle.parents if (parent / "MLmodel").is_file())
    with TemporaryDirectory() as folder:
        signature = folder / version.bundle.relative_to(model) / SIGNATURE
        signature.parent.mkdir(parents=True)
        keys.sign(version.bundle, signature)
        get_artifact_repository(location, tracking_uri=client.tracking_uri).log_artifacts(folder)
        if not version.signed:  # its files are elsewhere, and a copy of them here
            shutil.copy2(signature, version.bundle)


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
    expected = _digests(export)
    registered = {file: digest for file, digest in _digests(bundle).items() if file not in SEALS}
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
