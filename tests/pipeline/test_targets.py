import numpy as np
import pytest

from pipeline.config import Pretrain
from pipeline.targets import embedding_rows, predictions_per_token
from pipeline.training.batches import BatchShape
from pipeline.training.batches.objective import synthetic_batch


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "encoder_decoder"])
@pytest.mark.parametrize("length", [32, 50])
def test_what_is_predicted_is_what_a_batch_asks_for(architecture, length) -> None:
    config = Pretrain(mask_fraction=0.15)
    batch = synthetic_batch(architecture, config, BatchShape(2, 2), 100, length)
    assert predictions_per_token(architecture, config, length) == batch["targets"].size / batch["token_ids"].size
    ids = [batch[name] for name in ("token_ids", "decoder_token_ids", "targets") if name in batch]
    assert max(int(np.max(array)) for array in ids) < embedding_rows(architecture, config, 100, length)
