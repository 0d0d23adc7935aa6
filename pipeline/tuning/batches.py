"""What a fine-tuning learns from and is validated on, as its method and its class weights want."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras

from pipeline.config import Finetune
from pipeline.progress import Progress
from pipeline.training.batches import Batches, CorpusBatches, LabelledBatches, WeightedBatches, class_weights
from pipeline.tuning.features import FeatureBatches, with_features

FEATURES = "features"


def tuning_batches(
    model: keras.Model,
    splits: Mapping[str, LabelledBatches | CorpusBatches],
    config: Finetune,
    out: Path,
    progress: Progress,
) -> tuple[Batches, LabelledBatches | CorpusBatches | FeatureBatches]:
    """Return the batches to train on and those to validate on, which are never weighted by class.

    Args:
        model: keras.Model. Built; of feature extraction, its backbone computes the features now.
        splits: mapping. `train` and `validation`.
        config: Finetune. Of the recipe.
        out: Path. The step's folder.
        progress: Progress. Told what is computed.
    """
    if isinstance(splits["train"], CorpusBatches):  # texts to be written have neither features nor classes
        return splits["train"], splits["validation"]
    labelled = {name: batches for name, batches in splits.items() if isinstance(batches, LabelledBatches)}
    training: LabelledBatches | FeatureBatches = labelled["train"]
    validation: LabelledBatches | FeatureBatches = labelled["validation"]
    if config.method == "feature_extraction":
        training, validation = (
            with_features(model, labelled[split], out / FEATURES / f"{split}.npy", progress)
            for split in ("train", "validation")
        )
    if config.class_weights == "none":
        return training, validation
    classes = labelled["train"].labels
    weights = class_weights(classes, model.num_classes, config.class_weights)
    return WeightedBatches(training, weights), validation
