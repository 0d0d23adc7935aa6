"""Where the files of a version are on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.registry.reader import Record, sqlite_path


def local_folder(uri: str, root: Path, model: str, record: Record) -> Path:
    """Return the folder with the files of a version, downloaded once when they are elsewhere.

    Args:
        uri: str. Address of the registry.
        root: Path. Folder that downloads go to.
        model: str. Name of the model.
        record: Record. Of the version.
    """
    if sqlite_path(uri) and "://" not in record.location:
        return Path(record.location)
    # Another registry has a version 1 of this name too.
    origin = hashlib.sha256(f"{uri} {record.location}".encode()).hexdigest()[:12]
    folder = root / "downloads" / model / f"{record.version}-{origin}"
    if not folder.exists():
        import mlflow.artifacts

        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as partial:
            fetched = mlflow.artifacts.download_artifacts(
                artifact_uri=record.location, dst_path=partial, tracking_uri=uri
            )
            Path(fetched).replace(folder)
    return folder
