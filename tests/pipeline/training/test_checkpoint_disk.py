"""A disk that fills up under the checkpoints: said in words, the older ones sound, and the same call goes on."""

import os
import subprocess
import sys
from pathlib import Path

import keras
from small_disk import on_small_disk

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from pipeline.backend import select_backend
select_backend(os.environ["KERAS_BACKEND"])
import keras, numpy as np
from pipeline.config import Pretrain
from pipeline.errors import StoreError
from pipeline.progress import SilentProgress
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.loop import Learner, Trainer, Watch
from pipeline.training.optimizer import make_optimizer
from pipeline.training.steppers import Update

small, large = Path(sys.argv[1]), Path(sys.argv[2])
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2000)])
optimizer = make_optimizer(Pretrain(), 0.1, 100, model)

class Counting:
    def update(self, batch):
        model.layers[0].bias.assign(model.layers[0].bias + 1.0)
        return Update(1.0, 1.0, 0.0, 1.0, 1.0)

    def write_back(self): pass
    def read_in(self): pass

class Nothing:
    def batch(self, step):
        return {"segment_ids": np.ones((1, 1, 1), np.int32)}

checkpoints = Checkpoints(small / "checkpoints", {}, keep=10, say=print)
trainer = Trainer(
    Learner(model, optimizer, Counting()), checkpoints, large / "metrics.jsonl", SilentProgress(), Watch(1e-9)
)
try:
    trainer.train(Nothing(), 100)
except StoreError as error:
    assert "no space left" in str(error) and "it resumes where it stopped" in str(error), error
else:
    raise AssertionError("they fitted on the disk")
left = sorted(path.name for path in checkpoints.folder.iterdir())
steps = range(10, 10 + 10 * len(left), 10)
assert len(left) >= 2 and left == [f"step-{step:08d}" for step in steps], left
subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
model.layers[0].bias.assign(np.zeros(2000))
assert trainer.train(Nothing(), 100).resumed_at == steps[-1]
assert float(model.layers[0].bias[7]) == 100.0
"""


def test_a_disk_that_fills_up_under_the_checkpoints(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    command = [*on_small_disk(small, "512k"), sys.executable, "-c", SCRIPT, str(small), str(large)]
    root = Path(__file__).parents[3]
    subprocess.run(command, check=True, cwd=root, env=os.environ | {"KERAS_BACKEND": keras.backend.backend()})
