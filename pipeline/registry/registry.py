"""The registry of proven models: MLflow versions, and the alias `champion` that says which one serves.

The order inside `publish` is what makes it safe to kill at any point: files and version first, then their checksums,
then (under a lock, after asking who is champion now) the alias, last and in one write. Everything before the alias
leaves the champion serving; a second try finds the version by its publish reference and only moves the alias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline.errors import PublishError
from pipeline.integrity import NO_KEYS, Keys
from pipeline.registry.client import Mlflow
from pipeline.registry.downloads import local_folder
from pipeline.registry.files import add_signature, check_files, find_bundle, seal, write_model
from pipeline.registry.moves import CANDIDATE, CHAMPION, WITHDRAWN, Move, move_champion, moves_of
from pipeline.registry.reader import ClientReader, Reader, Record, SqliteReader, sqlite_path
from pipeline.registry.version import FINGERPRINT, JUDGED_AGAINST, NOBODY, PREFIX, PUBLISH, SEAL, Version, whose

if TYPE_CHECKING:
    from pipeline.config import Settings

LONGEST_DESCRIPTION = 5000  # characters; the registry's column
LONGEST_PARAMETER = 6000


class Registry:
    """Proven models under names, with one champion each.

    Args:
        uri: MLflow address; `sqlite:///<absolute path>` needs no server.
        artifact_root: folder for the files of a SQLite registry, for downloads from any other, and for the lock.
        patience: seconds to wait for a process that holds the database.
        keys: to sign with what is registered, and to check signatures with.

    """

    def __init__(self, uri: str, artifact_root: Path, patience: float = 20.0, keys: Keys = NO_KEYS) -> None:
        self.uri = uri
        self.artifact_root = artifact_root.absolute()
        self.mlflow = Mlflow(uri, artifact_root)
        self.patience = patience
        self.keys = keys

    @classmethod
    def for_workspace(cls, settings: Settings) -> Registry:
        """Return the registry the settings name; by default a SQLite file in the workspace."""
        workspace = settings.workspace.absolute()
        uri = settings.registry or f"sqlite:///{workspace / 'mlflow.db'}"
        return cls(uri, workspace / "mlartifacts", keys=Keys.of(settings))

    def models(self) -> list[str]:
        """Return the names of the models that have a champion, sorted. Raises PublishError: unreadable registry."""
        with self.errors("list the models"):
            reader = self._reader
            return [name for name in reader.models() if _with_alias(reader.records(name), CHAMPION)]

    def champion(self, model: str) -> Version | None:
        """Return the version that serves, None when there is none. Raises PublishError: unreadable registry."""
        return self.aliased(model, CHAMPION)

    def aliased(self, model: str, alias: str) -> Version | None:
        """Return the version under an alias, None when there is none. Raises PublishError: unreadable registry."""
        record = _with_alias(self.records(model), alias)
        return self._version(model, record) if record else None

    def version(self, model: str, version: str) -> Version:
        """Return one version. Raises PublishError: no such version, or its files are gone."""
        records = self.records(model)
        for record in records:
            if record.version == version:
                return self._version(model, record)
        known = ", ".join(record.version for record in records) or "none"
        raise PublishError(f"model {model!r} has no version {version!r}; registered versions: {known}")

    def is_settled(self, model: str, candidate_fingerprint: str) -> bool:
        """Return whether the candidate is the champion already, or was taken back: publishing it changes nothing."""
        known = [each for each in self.records(model) if each.tags.get(FINGERPRINT) == candidate_fingerprint]
        return any(CHAMPION in each.aliases or WITHDRAWN in each.tags for each in known)

    def opponent(self, model: str, candidate_fingerprint: str) -> Version | None:
        """Return whom the candidate is judged against: the champion, or nobody (None).

        When the champion is this very candidate, the version it was judged against: so an unchanged recipe that runs
        again asks the same question, finds the same verdict, and changes nothing.
        """
        champion = self.champion(model)
        if champion is None or champion.fingerprint != candidate_fingerprint:
            return champion
        known = {record.version for record in self.records(model)}
        return self.version(model, champion.judged_against) if champion.judged_against in known else None

    def publish(
        self,
        model: str,
        export: Path,
        *,
        fingerprint: str,
        publish_reference: str,
        expected_champion: str | None,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        params: Mapping[str, Any],
        experiment: str,
        who: str | None = None,
    ) -> Version:
        """Register the export (once per publish reference), check its files, and make it the champion.

        Args:
            model: name in the registry.
            export: the proven folder that `publish` left.
            fingerprint: of the finetune artifact.
            publish_reference: of the publish artifact.
            expected_champion: the version the gate compared with; None when there was none.
            tags: what else to remember (gate reference, data content, code version).
            metrics: kept with the MLflow run.
            params: kept with the MLflow run.
            experiment: MLflow experiment, one per recipe.
            who: has approved it; None: it is published in the name of this process's user.

        Raises:
            PublishError: the registry is unreachable, registered files differ from the export, or the champion has
                changed since the verdict. The champion is untouched in every case.

        Returns:
            Version. One that was taken back by `rollback` is returned with its reason in `withdrawn`, and stays so.

        """
        with self.errors(f"publish {model!r}"), self.mlflow.lock():
            self._reader.models()  # an unreadable database fails here, with its own message and before MLflow retries
            records = self._reader.records(model)
            for each in records:
                if each.tags.get(FINGERPRINT) == fingerprint and WITHDRAWN in each.tags:
                    return self._version(model, each)
            found = [each for each in records if each.tags.get(PUBLISH) == publish_reference]
            if found:
                version = self._version(model, found[-1])
                if self.keys.signing and not version.signed:  # registered before there was a key
                    self.sign(version)
            else:
                own = {FINGERPRINT: fingerprint, PUBLISH: publish_reference}
                own[JUDGED_AGAINST] = expected_champion or NOBODY
                every = {PREFIX + name: value for name, value in tags.items()} | own
                version = self._register(model, export, every, metrics, params, experiment)
            if CHAMPION not in version.aliases:
                self._client.set_registered_model_alias(model, CANDIDATE, version.version)
            check_files(version.bundle, export, version.title)
            version.checked_bundle()
            return self._promote(version, expected_champion, who)

    def _promote(self, version: Version, expected: str | None, who: str | None) -> Version:
        champion = self.champion(version.name)
        if champion and champion.version == version.version:
            return version
        current = champion.version if champion else None
        if current != expected and not (champion and champion.fingerprint == version.fingerprint):
            raise PublishError(
                f"{version.name!r} version {version.version} was judged against {_named(expected)}, but the "
                f"champion is now {_named(current)}; it stays. Run the recipe again: the candidate is then judged "
                "against the present champion"
            )
        why = f"run {version.tags['run']}" if "run" in version.tags else "published"
        if approved := version.tags.get("approved"):
            why = f"{why}, {approved}"
        move_champion(self, version.name, Move.now("publish", version.version, current, why, who), current)
        return self.version(version.name, version.version)

    def tag(self, version: Version, name: str, value: str) -> None:
        """Keep something with a version."""
        with self.errors(f"tag {version.title}"):
            self._client.set_model_version_tag(version.name, version.version, PREFIX + name, value)

    def sign(self, version: Version) -> None:
        """Add a signature to a version whose files are those that were registered.

        Raises:
            IntegrityError: they are not, there is no usable key, or the version was registered without a manifest.
        """
        with self.errors(f"sign {version.title}"):
            add_signature(version, self.keys, self._client)

    def moves(self, model: str) -> list[Move]:
        """Return how the alias `champion` has moved, oldest first."""
        return moves_of(self.records(model))

    def aliases(self, model: str) -> dict[str, str]:
        """Return alias -> version. Raises PublishError: unreadable registry."""
        return {alias: record.version for record in self.records(model) for alias in record.aliases}

    def versions(self, model: str) -> list[Version]:
        """Return every version, oldest first. Raises PublishError: files of one are gone."""
        return [self._version(model, record) for record in self.records(model)]

    def _register(
        self,
        model: str,
        export: Path,
        tags: dict[str, str],
        metrics: Mapping[str, float],
        params: Mapping[str, Any],
        experiment: str,
    ) -> Version:
        """Return a new version made of one MLflow run and one logged model that hold the export; moves no alias."""
        client = self._client
        experiment_id = self.mlflow.experiment(experiment)
        run_id = client.create_run(experiment_id, run_name=model, tags=tags).info.run_id
        try:
            logged = client.create_logged_model(experiment_id, name=model, source_run_id=run_id, tags=tags)
            with TemporaryDirectory() as folder:
                write_model(Path(folder) / "model", export, run_id, logged.model_id, signed=bool(self.keys.signing))
                own = whose(model, tags[FINGERPRINT], tags[PUBLISH])
                tags = tags | {SEAL: seal(Path(folder) / "model", own, self.keys)}
                client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
            client.finalize_logged_model(logged.model_id, "READY")
            for name, value in params.items():
                client.log_param(run_id, name, str(value)[:LONGEST_PARAMETER])
            for name, number in metrics.items():
                client.log_metric(run_id, name, number, model_id=logged.model_id)
            self._ensure_model(model)
            # The location, not `models:/<id>`: MLflow would resolve that through the process-wide tracking address.
            source, model_id = logged.artifact_location, logged.model_id
            description = (export / "MODEL_CARD.md").read_text("utf-8")[:LONGEST_DESCRIPTION]
            made = client.create_model_version(model, source, run_id, tags, description=description, model_id=model_id)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
        return self.version(model, str(made.version))

    def _ensure_model(self, name: str) -> None:
        if name not in self._reader.models():
            self._client.create_registered_model(name)

    def records(self, model: str) -> list[Record]:
        """Return what the tables hold of a model's versions, oldest first. Raises PublishError: unreadable registry."""
        with self.errors(f"look up {model!r}"):
            return self._reader.records(model)

    def _version(self, model: str, record: Record) -> Version:
        against = record.tags.get(JUDGED_AGAINST, NOBODY)
        with self.errors(f"download {model!r} version {record.version}"):
            folder = local_folder(self.uri, self.artifact_root, model, record)
        return Version(
            name=model,
            version=record.version,
            fingerprint=record.tags.get(FINGERPRINT, ""),
            judged_against=None if against == NOBODY else against,
            bundle=find_bundle(folder, f"{model!r} version {record.version}"),
            tags={name.removeprefix(PREFIX): value for name, value in record.tags.items()},
            aliases=record.aliases,
            keys=self.keys,
        )

    @property
    def _reader(self) -> Reader:
        path = sqlite_path(self.uri)
        return SqliteReader(path, self.patience) if path else ClientReader(self._client)

    @property
    def _client(self) -> Any:
        return self.mlflow.client

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Turn what MLflow, its database and the file system raise into one message."""
        try:
            yield
        except PublishError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not type(error).__module__.startswith(("mlflow", "sqlalchemy")):
                raise
            raise PublishError(
                f"the registry {self.uri} could not {action}: {type(error).__name__}: {error}; expected a reachable "
                "MLflow registry with free, writable storage. Check the address (TRADEWIND_REGISTRY), that no other "
                "process holds the database, and the disk; the champion is untouched"
            ) from error


def _with_alias(records: list[Record], alias: str) -> Record | None:
    return next((record for record in records if alias in record.aliases), None)


def _named(version: str | None) -> str:
    return f"version {version}" if version else "nobody (there was no champion)"
