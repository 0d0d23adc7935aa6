import json
from dataclasses import dataclass

import pytest

from pipeline.progress import SilentProgress
from pipeline.tuning.seeds import over_seeds


@dataclass(frozen=True)
class Result:
    validation_metric: float
    seed: int


class Recorder(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.tracked: list[int] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def track(self, step, figures) -> None:
        self.tracked.append(step)


class Training:
    """Stands for a fine-tuning: writes a bundle, and is killed from some seed when told to."""

    def __init__(self, metrics: dict[int, float], killed_at: int | None = None) -> None:
        self.metrics, self.killed_at, self.seeds = metrics, killed_at, []

    def __call__(self, seed, folder, progress) -> Result:
        self.seeds.append(seed)
        for name in ("bundle/model.keras", "logs/metrics.jsonl"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(str(seed))
        if seed == self.killed_at:
            raise KeyboardInterrupt
        progress.track(seed, {})
        return Result(self.metrics[seed], seed)


def test_the_best_is_kept_and_mean_and_spread_are_told(tmp_path) -> None:
    progress = Recorder()
    found = over_seeds([7, 8, 9], tmp_path, progress, Training({7: 0.5, 8: 0.9, 9: 0.7}), Result)
    assert (found.best, found.metrics, found.results[8].seed) == (8, {7: 0.5, 8: 0.9, 9: 0.7}, 8)
    assert found.mean == pytest.approx(0.7)
    assert found.spread == pytest.approx(0.2)
    files = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "bundle/model.keras": "8",
        "logs/metrics.jsonl": "8",
        "seed-logs/7/metrics.jsonl": "7",
        "seed-logs/9/metrics.jsonl": "9",
    }
    assert progress.tracked == [7]
    assert progress.said[-1] == "seeds 7: 0.5000, 8: 0.9000, 9: 0.7000; mean 0.7000, spread 0.2000; seed 8 is kept"


def test_a_killed_step_trains_no_seed_twice(tmp_path) -> None:
    metrics = {1: 0.5, 2: 0.5, 3: 0.4}
    with pytest.raises(KeyboardInterrupt):
        over_seeds([1, 2, 3], tmp_path, SilentProgress(), Training(metrics, killed_at=2), Result)
    assert json.loads((tmp_path / "seeds" / "1" / "result.json").read_text()) == {"validation_metric": 0.5, "seed": 1}
    again = Training(metrics)
    found = over_seeds([1, 2, 3], tmp_path, SilentProgress(), again, Result)
    assert again.seeds == [2, 3]
    assert found.best == 1  # the first of equal ones
    assert (tmp_path / "bundle" / "model.keras").read_text() == "1"


def test_killed_while_gathering_it_goes_on(tmp_path, monkeypatch) -> None:
    metrics = {1: 0.5, 2: 0.9}
    monkeypatch.setattr("pipeline.tuning.seeds.shutil.rmtree", interrupted(tmp_path / "seeds"))
    with pytest.raises(KeyboardInterrupt):
        over_seeds([1, 2], tmp_path, SilentProgress(), Training(metrics), Result)
    monkeypatch.undo()
    again = Training(metrics)
    assert over_seeds([1, 2], tmp_path, SilentProgress(), again, Result).best == 2
    assert again.seeds == []
    assert (tmp_path / "bundle" / "model.keras").read_text() == "2"
    assert not (tmp_path / "seeds").exists()


def interrupted(folder):
    """Return `rmtree` that is killed at a folder."""
    import shutil

    remove = shutil.rmtree

    def removing(path, **options) -> None:
        if path == folder:
            raise KeyboardInterrupt
        remove(path, **options)

    return removing
