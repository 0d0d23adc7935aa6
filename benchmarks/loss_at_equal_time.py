"""The validation loss of masked language modelling after equal time, against transformers' recipe on the same rows.

    tradewind step preprocess RECIPE        # rows of 128 tokens, vocabulary 8192
    python benchmarks/loss_at_equal_time.py WORKSPACE/artifacts/preprocess/FINGERPRINT --updates 400

First BertForMaskedLM of 4 layers x 256 trains as run_mlm.py does (dynamic masking of 15 %, AdamW, linear schedule),
with a learning rate and a warm-up that suit it better than that script's defaults, and no dropout. Then ours of equal
size trains with a schedule planned for half of its time. Both are judged on the same masked validation rows; compiling
and judging are not counted. Needs `requirements/benchmarks.txt` and torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pipeline.cli.memory import with_huge_pages

ROWS, LAYERS, WIDTH, HEADS = 32, 4, 256, 4


def main() -> None:
    """Train both, one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="artifact of preprocess")
    parser.add_argument("--updates", type=int, default=400, help="of transformers")
    parser.add_argument("--their-learning-rate", type=float, default=1e-3)
    parser.add_argument("--our-learning-rate", type=float, help="default: as derived from the width")
    parser.add_argument("--optimizer", default="adamw", help="ours")
    parser.add_argument("--backend", default="jax", help="ours")
    parser.add_argument("--share", type=float, default=0.5, help="of their time, for ours")
    parser.add_argument("--their-seconds", type=float, help="skip theirs: it took so long")
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--theirs", action="store_true", help="only transformers")
    options = parser.parse_args()
    if options.seconds:
        print(json.dumps(ours(options, options.seconds)))
    elif options.theirs:
        print(json.dumps(theirs(options)))
    else:
        seconds = options.their_seconds
        if seconds is None:
            found = run({"KERAS_BACKEND": "torch"}, "--theirs")
            seconds = found["seconds"]
            print("transformers", found, flush=True)
        found = run({"KERAS_BACKEND": options.backend}, "--seconds", str(seconds * options.share))
        print(f"ours {options.backend} {options.optimizer}", found)


def run(environment: dict[str, str], *more: str) -> dict[str, float]:
    """Return what a process of this script printed last."""
    variables = dict(os.environ) | environment
    command = [sys.executable, *sys.argv, *more]
    output = subprocess.run(
        command, env=with_huge_pages(variables) or variables, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(output.stdout.splitlines()[-1])


def parts(options: argparse.Namespace):
    """Return our batches for training and for validation, and the vocabulary."""
    from pipeline.config import Pretrain
    from pipeline.data.tokens.shards import ShardedRows
    from pipeline.data.tokens.tokenizer import load_tokenizer
    from pipeline.data.tokens.vocabulary import Vocabulary
    from pipeline.training.batches import BatchShape
    from pipeline.training.batches.objective import corpus_batches

    config = Pretrain(global_batch_size=ROWS, optimizer=options.optimizer)
    vocabulary = Vocabulary.of(load_tokenizer(options.tokens / "tokenizer.json"))
    splits = [ShardedRows(options.tokens / "corpus" / split) for split in ("train", "validation")]
    shape = BatchShape.of(ROWS, None)
    training, validation = (corpus_batches("encoder", config, rows, shape, vocabulary, seed=0) for rows in splits)
    return config, vocabulary, training, validation


def ours(options: argparse.Namespace, seconds: float) -> dict[str, float]:
    """Train our model with a schedule that ends after some seconds, and return how well it predicts."""
    from functools import partial

    import keras

    from models.objectives import token_prediction
    from models.size import derive_dimensions
    from pipeline.backbone import build_language_model
    from pipeline.training.optimizer import default_learning_rate, make_optimizer
    from pipeline.training.steppers import make_stepper
    from pipeline.training.watch.evaluation import evaluate

    config, vocabulary, training, validation = parts(options)
    dimensions = derive_dimensions("tiny", LAYERS, WIDTH, HEADS, feedforward_dim=704)
    rate = options.our_learning_rate or default_learning_rate(options.optimizer, dimensions.learning_rate)

    def start(updates: int):
        keras.utils.set_random_seed(0)
        model = build_language_model(dimensions, vocabulary.size, 0.0)
        return make_stepper(model, make_optimizer(config, rate, updates, model), partial(token_prediction))

    probe = start(20)
    float(probe.update(training.batch(0)).loss)
    started = time.perf_counter()
    for step in range(1, 20):
        last = probe.update(training.batch(step))
    float(last.loss)
    updates = int(seconds / ((time.perf_counter() - started) / 19))
    stepper = start(updates)
    float(stepper.evaluate(training.batch(0)).loss)
    first = time.perf_counter()
    float(stepper.update(training.batch(0)).loss)
    compiled = time.perf_counter()
    for step in range(1, updates):
        last = stepper.update(training.batch(step))
        if step % 10 == 0:
            float(last.loss)
    float(last.loss)
    taken = (time.perf_counter() - compiled) * updates / (updates - 1)
    print(f"compiled in {compiled - first:.0f} s", file=sys.stderr)
    stepper.write_back()
    found = evaluate(stepper, validation.in_order())
    return {"loss": found["loss"], "accuracy": found["accuracy"], "seconds": taken, "updates": updates, "rate": rate}


def theirs(options: argparse.Namespace) -> dict[str, float]:
    """Train BertForMaskedLM, and return how well it predicts."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, get_linear_schedule_with_warmup

    _, vocabulary, training, validation = parts(options)
    torch.manual_seed(0)
    length = training.rows.sequence_length
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(
        vocab_size=vocabulary.size, intermediate_size=4 * WIDTH, max_position_embeddings=length, **sizes, **plain
    )
    model = BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.their_learning_rate, weight_decay=0.01, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, options.updates // 10, options.updates)

    def inputs(batch) -> dict[str, torch.Tensor]:
        shown, positions, weights = (batch[name][0] for name in ("token_ids", "positions", "weights"))
        labels = np.full(shown.shape, -100)
        chosen = np.where(weights > 0, batch["targets"][0], -100)
        np.put_along_axis(labels, positions, chosen, axis=1)
        mask = batch["segment_ids"][0] > 0
        arrays = {"input_ids": shown, "attention_mask": mask, "labels": labels}
        return {name: torch.tensor(np.asarray(array), dtype=torch.long) for name, array in arrays.items()}

    seconds = 0.0
    for step in range(options.updates):
        started = time.perf_counter()
        optimizer.zero_grad()
        model(**inputs(training.batch(step))).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seconds += time.perf_counter() - started
    total = correct = weight = 0.0
    model.eval()
    with torch.no_grad():
        for batch in validation.in_order():
            given = inputs(batch)
            chosen = given["labels"] >= 0
            logits, labels = model(**given).logits[chosen], given["labels"][chosen]
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            correct += float((logits.argmax(-1) == labels).sum())
            weight += len(labels)
    return {
        "loss": total / weight,
        "accuracy": correct / weight,
        "seconds": seconds,
        "updates": options.updates,
        "rate": options.their_learning_rate,
    }


if __name__ == "__main__":
    main()
