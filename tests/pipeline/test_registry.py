"""The registry on real MLflow and SQLite: who becomes champion, and everything that must leave the champion alone."""

import getpass
import json
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.errors import PublishError
from pipeline.registry import CANDIDATE, CHAMPION, PREVIOUS, Registry, promote, rollback
from pipeline.registry.reader import ClientReader, SqliteReader

MODEL = "icd10-chapter"


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: its migrations take seconds."""
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry(f"sqlite:///{folder / 'mlflow.db'}", folder / "files")
    assert registry._client.search_registered_models() == []
    return folder / "mlflow.db"


@pytest.fixture
def registry(empty_database: Path, tmp_path: Path) -> Registry:
    workspace = tmp_path / "my workspace"  # a blank in the path, as people have them
    workspace.mkdir()
    shutil.copy(empty_database, workspace / "mlflow.db")
    return Registry.for_workspace(Settings(workspace=workspace))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("model.keras", "tokenizer.json", "MODEL_CARD.md"):
        (folder / name).write_text(f"the {name}")
    (folder / "bundle.json").write_text('{"kind": "classification"}')
    (folder / "requirements.txt").write_text("keras==3.15.0\n")
    return folder


def publish(registry: Registry, export: Path, fingerprint: str, expected: str | None, reference: str | None = None):
    return registry.publish(
        MODEL,
        export,
        fingerprint=fingerprint,
        publish_reference=reference or f"publish/{fingerprint}-{expected}",
        expected_champion=expected,
        tags={"gate": "gate/123", "data": "abc"},
        metrics={"macro_f1": 0.5},
        params={"model.size": "tiny"},
        experiment="icd10",
    )


def killed(*arguments: object) -> None:
    raise KeyboardInterrupt


def versions(registry: Registry) -> dict[str, tuple[str, ...]]:
    return {record.version: record.aliases for record in registry._reader.records(MODEL)}


def test_first_version_becomes_champion_with_its_lineage(registry: Registry, export: Path) -> None:
    assert registry.champion(MODEL) is None
    assert registry.models() == []
    made = publish(registry, export, "f1", None)
    assert made == registry.champion(MODEL)
    assert (made.version, made.fingerprint, made.judged_against, made.aliases) == ("1", "f1", None, (CHAMPION,))
    assert made.tags["gate"] == "gate/123"
    assert made.tags["publish"] == "publish/f1-None"
    assert (made.bundle / "model.keras").read_text() == "the model.keras"
    assert registry.models() == [MODEL]
    run = registry._client.search_runs([registry._client.get_experiment_by_name("icd10").experiment_id])[0]
    assert (run.info.status, run.data.metrics, run.data.params) == (
        "FINISHED",
        {"macro_f1": 0.5},
        {"model.size": "tiny"},
    )


def test_no_pickle_and_only_stated_requirements_are_registered(registry: Registry, export: Path) -> None:
    folder = publish(registry, export, "f1", None).bundle.parents[1]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pyc"))]
    assert {"MLmodel", "pyfunc.py", "code/pipeline/errors.py", "input_example.json"} <= names
    requirements = (folder / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in requirements] == ["mlflow", "keras"]


def test_both_readers_see_the_same_versions(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    publish(registry, export, "f2", "1")
    publish(registry, export, "f3", "2")
    registry._client.delete_model_version(MODEL, "1")
    by_client, by_file = ClientReader(registry._client), registry._reader
    assert isinstance(by_file, SqliteReader)
    assert by_client.models() == by_file.models() == [MODEL]
    assert by_client.records(MODEL) == by_file.records(MODEL)
    assert [record.aliases for record in by_file.records(MODEL)] == [(PREVIOUS,), (CHAMPION,)]
    assert by_client.records("nobody") == by_file.records("nobody") == []


def test_same_publish_reference_is_registered_once(registry: Registry, export: Path) -> None:
    first = publish(registry, export, "f1", None)
    assert publish(registry, export, "f1", None) == first
    assert versions(registry) == {"1": (CHAMPION,)}


def test_kill_between_registering_and_promoting_is_finished_by_the_next_try(
    registry: Registry, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry, export, "f1", None)
    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(registry, export, "f2", "1")
    assert versions(registry) == {"1": (CHAMPION,), "2": ()}
    assert registry.champion(MODEL).version == "1"
    assert publish(registry, export, "f2", "1").version == "2"
    assert versions(registry) == {"1": (PREVIOUS,), "2": (CHAMPION,)}


def test_opponent_is_the_champion_unless_it_is_the_candidate(registry: Registry, export: Path) -> None:
    assert registry.opponent(MODEL, "f1") is None
    publish(registry, export, "f1", None)
    assert registry.opponent(MODEL, "f1") is None  # it was judged against nobody
    assert registry.opponent(MODEL, "f2").version == "1"
    publish(registry, export, "f2", "1")
    assert registry.opponent(MODEL, "f2").version == "1"
    assert registry.opponent(MODEL, "f1").version == "2"  # taking back an old recipe is a new question


def test_opponent_of_the_champion_is_nobody_once_its_old_opponent_is_deleted(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    publish(registry, export, "f2", "1")
    registry._client.delete_model_version(MODEL, "1")
    assert registry.opponent(MODEL, "f2") is None


def test_unchanged_candidate_republished_by_newer_code_replaces_itself(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    again = publish(registry, export, "f1", None, reference="publish/of-newer-code")
    assert (again.version, again.aliases) == ("2", (CHAMPION,))


def test_champion_changed_since_the_verdict_is_a_conflict_naming_both(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    publish(registry, export, "f2", "1")
    with pytest.raises(PublishError, match=r"version 3 was judged against version 1, but .* is now version 2"):
        publish(registry, export, "f3", "1")
    assert versions(registry) == {"1": (PREVIOUS,), "2": (CHAMPION,), "3": (CANDIDATE,)}
    with pytest.raises(PublishError, match=r"judged against nobody .* now version 2"):
        publish(registry, export, "f4", None)


def test_of_two_at_once_one_wins_and_the_other_is_told(registry: Registry, export: Path) -> None:
    def attempt(fingerprint: str) -> str:
        own = Registry(registry.uri, registry.artifact_root)
        try:
            return publish(own, export, fingerprint, None).version
        except PublishError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(attempt, ["f1", "f2"]), key=len)
    assert outcomes[0] == "1"
    assert "judged against nobody (there was no champion), but the champion is now version 1" in outcomes[1]
    assert versions(registry) == {"1": (CHAMPION,), "2": (CANDIDATE,)}


def test_tampered_registered_file_is_never_promoted(
    registry: Registry, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry, export, "f1", None)
    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(registry, export, "f2", "1")
    stored = registry.version(MODEL, "2").bundle
    (stored / "model.keras").write_text("other weights")
    (stored / "extra.bin").write_text("x")
    with pytest.raises(PublishError, match=r"version 2 is registered, but its files differ .*extra.bin, model.keras"):
        publish(registry, export, "f2", "1")
    assert versions(registry) == {"1": (CHAMPION,), "2": (CANDIDATE,)}


def test_missing_registered_files_are_named(registry: Registry, export: Path) -> None:
    bundle = publish(registry, export, "f1", None).bundle
    shutil.rmtree(bundle)
    with pytest.raises(PublishError, match=r"files of 'icd10-chapter' version 1 are missing or damaged .* restore"):
        registry.champion(MODEL)


def test_rollbacks_go_back_through_history_and_say_who_and_why(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    publish(registry, export, "f2", "1")
    publish(registry, export, "f3", "2")
    assert rollback(registry, MODEL, "complaints about rare classes").version == "2"
    assert versions(registry) == {"1": (PREVIOUS,), "2": (CHAMPION,), "3": ()}
    assert rollback(registry, MODEL, "worse still").version == "1"
    assert versions(registry) == {"1": (CHAMPION,), "2": (), "3": ()}
    with pytest.raises(PublishError, match=r"no previous version to go back to; registered versions: 1, 2, 3"):
        rollback(registry, MODEL, "once more")
    moves = registry.moves(MODEL)
    assert [(move.how, move.before, move.version) for move in moves] == [
        *[("publish", None, "1"), ("publish", "1", "2"), ("publish", "2", "3")],
        *[("rollback", "3", "2"), ("rollback", "2", "1")],
    ]
    assert (moves[3].why, moves[3].who) == ("complaints about rare classes", getpass.getuser())


def test_what_was_taken_back_is_published_by_hand_only(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    publish(registry, export, "f2", "1")
    rollback(registry, MODEL, "it answers in capitals")
    for reference in (None, "publish/of-newer-code"):  # the nightly run of the same recipe, and of newer code
        again = publish(registry, export, "f2", "1", reference)
        assert again.withdrawn.startswith("it answers in capitals (")
        assert registry.champion(MODEL).version == "1"
    assert len(versions(registry)) == 2
    assert promote(registry, MODEL, "2", "the capitals were ours").withdrawn is None
    assert versions(registry) == {"1": (PREVIOUS,), "2": (CHAMPION,)}
    assert publish(registry, export, "f2", "1").withdrawn is None


def test_moves_by_hand_need_a_reason_and_someone_to_move_to(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    publish(registry, export, "f2", "1")
    for action in (lambda: promote(registry, MODEL, "1", " "), lambda: rollback(registry, MODEL, "")):
        with pytest.raises(PublishError, match="reason is empty"):
            action()
    with pytest.raises(PublishError, match="champion already"):
        promote(registry, MODEL, "2", "because")
    with pytest.raises(PublishError, match="no version '9'"):
        promote(registry, MODEL, "9", "because")
    assert versions(registry) == {"1": (PREVIOUS,), "2": (CHAMPION,)}


def test_rollback_that_is_killed_leaves_the_champion(
    registry: Registry, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry, export, "f1", None)
    publish(registry, export, "f2", "1")
    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            rollback(registry, MODEL, "slow")
    assert registry.champion(MODEL).version == "2"


def test_unknown_version_lists_the_known(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    with pytest.raises(PublishError, match="no version '7'; registered versions: 1"):
        registry.version(MODEL, "7")


def test_file_that_is_no_database_is_refused(tmp_path: Path, export: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to have a header of its own" * 20)
    registry = Registry.for_workspace(Settings(workspace=tmp_path))
    with pytest.raises(PublishError, match=r"mlflow.db cannot be read \(file is not a database\)"):
        registry.champion(MODEL)
    with pytest.raises(PublishError, match="file is not a database"):
        publish(registry, export, "f1", None)


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE songs (title)")
    with pytest.raises(PublishError, match="no such table"):
        Registry.for_workspace(Settings(workspace=tmp_path)).models()


def test_locked_database_is_told_after_the_patience(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    path = registry.uri.removeprefix("sqlite:///")
    hasty = Registry(registry.uri, registry.artifact_root, patience=0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        for action in (lambda: hasty.champion(MODEL), lambda: publish(hasty, export, "f2", "1")):
            with pytest.raises(PublishError, match=r"database is locked.* wait and try again"):
                action()
    finally:
        holder.close()
    assert hasty.champion(MODEL).version == "1"


def test_unwritable_storage_leaves_the_champion(registry: Registry, export: Path) -> None:
    publish(registry, export, "f1", None)
    root = registry.artifact_root / "icd10"
    root.rename(registry.artifact_root / "kept")
    root.write_text("a file where the folder was")
    with pytest.raises(PublishError, match="could not publish"):
        publish(registry, export, "f2", "1")
    root.unlink()
    (registry.artifact_root / "kept").rename(root)
    assert versions(registry) == {"1": (CHAMPION,)}


def test_server_that_is_down_is_told(tmp_path: Path, export: Path) -> None:
    registry = Registry("http://127.0.0.1:9", tmp_path / "files")
    with pytest.raises(PublishError, match=r"registry http://127.0.0.1:9 could not .*TRADEWIND_REGISTRY"):
        publish(registry, export, "f1", None)


@pytest.mark.slow
def test_publishing_is_silent_and_looking_up_needs_no_mlflow(registry: Registry, export: Path) -> None:
    """In a process of its own: imports and log handlers of this one would hide the noise."""
    code = f"""
import sys
from pathlib import Path
from pipeline.registry import Registry
registry = Registry({registry.uri!r}, Path({str(registry.artifact_root)!r}))
arguments = dict(fingerprint="f1", publish_reference="r", expected_champion=None, tags={{}}, metrics={{}}, params={{}})
if sys.argv[1] == "publish":
    registry.publish({MODEL!r}, Path({str(export)!r}), experiment="icd10", **arguments)
else:
    print(registry.opponent({MODEL!r}, "f2").version, registry.publish(
        {MODEL!r}, Path({str(export)!r}), experiment="icd10", **arguments).version, "mlflow" in sys.modules)
"""
    Path(registry.uri.removeprefix("sqlite:///")).unlink()  # so that the tables are created as well

    def run(what: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, what], capture_output=True, text=True, check=True)

    first = run("publish")
    assert (first.stdout, first.stderr) == ("", "")
    assert run("look up").stdout == "1 1 False\n"
    assert json.loads(json.dumps(registry.champion(MODEL).tags))["publish"] == "r"
