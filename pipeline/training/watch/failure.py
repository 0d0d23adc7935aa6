"""Why a training cannot go on, told so that it can be mended."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.errors import Diverged
from pipeline.training.batches import Batches
from pipeline.training.position import Position
from pipeline.training.watch.spikes import Bad, Spike

BAD_BATCH = "bad_batch.json"


def bad_number(bad: Bad, position: Position, batches: Batches, folder: Path) -> Diverged:
    """Return the error for an update that cannot be trained on from, once its batch is written to `bad_batch.json`.

    Args:
        bad: Bad. The update and its number.
        position: Position. For the data of that update.
        batches: Batches. Asked which rows the batch held, where it has `describe`.
        folder: Path. Where the file goes.
    """
    data_step = position.data_step(bad.update - 1)
    description = {"update": bad.update, "data_step": data_step, bad.what: str(bad.value)}
    if describe := getattr(batches, "describe", None):
        description["rows"] = describe(data_step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BAD_BATCH).write_text(json.dumps(description, indent=2))
    return Diverged(
        f"the {bad.what.replace('_', ' ')} became {bad.value} at update {bad.update}; what its batch held is in "
        f"{folder / BAD_BATCH}. Lower learning_rate or clip_norm, lengthen the warm-up, train in float32 "
        "(runtime.precision), or mend those rows"
    )


def endless_spikes(spike: Spike, position: Position) -> Diverged:
    """Return the error for a spike after as many rollbacks as are tried."""
    skipped = ", ".join(f"{first} to {end - 1}" for first, end in position.skipped)
    return Diverged(
        f"the loss spiked again, to {spike.loss:.4g} at update {spike.update}, after {position.rollbacks} rollbacks "
        f"without getting past update {position.trouble} (data steps left out: {skipped}). So it is not the data: "
        "lower learning_rate or clip_norm, or lengthen the warm-up; if such losses are usual for this corpus, raise "
        "pretrain.spike_threshold (null: never)"
    )


def describe_rollback(spike: Spike, position: Position, earlier: Position) -> dict[str, object]:
    """Return the line of the log for a rollback from `position` to `earlier`."""
    return {
        "rolled_back_from": position.step,
        "spike_update": spike.update,
        "spike_loss": spike.loss,
        "spike_deviations": round(spike.deviations, 2),
        "skipped": asdict(earlier)["skipped"],
    }
