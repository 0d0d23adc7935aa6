"""Pretraining on a CPU: tokens per second against transformers and KerasHub, one model size, the same tokens.

    python benchmarks/pretrain_cpu.py --rounds 5
    python benchmarks/pretrain_cpu.py --objective causal

4 layers x 256, 4 heads, sequence 128, vocabulary 8192, 32 rows an update, no dropout, AdamW, clipping. Ours has a gated
feed-forward of 704, the others a plain one of 1024, so that all have 5.4 million parameters. Every contestant is a warm
process of its own; they take turns, a few updates each, and every ratio is that of two neighbours in time. The peak is
that of a float32 matrix product of 2048, measured between the turns. All get large pages of memory, as `tradewind run`
does. Needs `requirements/benchmarks.txt` and torch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np
from taking_turns import CONTESTANT, Update, serve, take_turns

from pipeline.cli.memory import with_huge_pages

ROWS, SEQUENCE, VOCABULARY, LAYERS, WIDTH, HEADS = 32, 128, 8192, 4, 256, 4
PREDICTIONS = 19  # 15 % of a row
TOKENS = ROWS * SEQUENCE
CONTESTANTS = {
    "masked": (
        "ours jax",
        "ours tensorflow",
        "ours torch",
        "transformers float32",
        "transformers compiled",
        "transformers bfloat16",
        "keras_hub jax",
    ),
    "causal": ("ours jax", "ours tensorflow", "ours torch", "transformers float32", "transformers compiled"),
}


def main() -> None:
    """Let the contestants take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", choices=("masked", "causal"), default="masked")
    parser.add_argument("--only", nargs="*", help="names of contestants; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=5, help="updates of a turn")
    parser.add_argument(CONTESTANT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        update, parameters = make(options.contestant, options.objective)
        serve(update, f"{parameters:,} parameters")
        return
    peaks: list[float] = []
    seconds = take_turns(
        options.only or CONTESTANTS[options.objective],
        environment,
        options.rounds,
        options.updates,
        before_round=lambda: peaks.append(peak()),
    )
    report(options.objective, seconds, peaks)


def environment(name: str) -> dict[str, str]:
    """Return what a contestant needs: its backend, and large pages."""
    chosen = {"KERAS_BACKEND": "torch" if "transformers" in name else name.split()[1]}
    return with_huge_pages(dict(os.environ) | chosen) or chosen


def make(name: str, objective: str) -> tuple[Update, int]:
    """Return a function that makes one update, and the number of parameters."""
    library, variant = name.split()
    if library == "ours":
        return ours(objective)
    return transformers_model(objective, variant) if library == "transformers" else keras_hub_model()


def ours(objective: str) -> tuple[Update, int]:
    """Our model and engine, one micro-batch an update."""
    from functools import partial

    import keras

    from models.backbones import Decoder, Encoder
    from models.language_models import CausalLanguageModel, MaskedLanguageModel
    from models.objectives import token_prediction
    from pipeline.config import Pretrain
    from pipeline.training.batches import BatchShape
    from pipeline.training.batches.objective import synthetic_batch
    from pipeline.training.optimizer import make_optimizer
    from pipeline.training.steppers import make_stepper

    keras.utils.set_random_seed(0)
    sizes = (VOCABULARY, LAYERS, WIDTH, HEADS, HEADS, 704)
    masked = objective == "masked"
    model = MaskedLanguageModel(Encoder(*sizes)) if masked else CausalLanguageModel(Decoder(*sizes))
    model.build_from_config({})
    config = Pretrain(mask_fraction=PREDICTIONS / SEQUENCE)
    stepper = make_stepper(model, make_optimizer(config, 1e-3, 10_000, model), partial(token_prediction))
    architecture = "encoder" if masked else "decoder"
    batch = synthetic_batch(architecture, config, BatchShape(ROWS, ROWS), VOCABULARY, SEQUENCE)
    return lambda: stepper.update(batch).loss, model.count_params()


def transformers_model(objective: str, variant: str) -> tuple[Update, int]:
    """BertForMaskedLM or GPT2LMHeadModel with a plain PyTorch loop, which is what its Trainer does around it."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    random = np.random.default_rng(0)
    ids = torch.tensor(random.integers(5, VOCABULARY, (ROWS, SEQUENCE)))
    labels = ids.clone()
    if objective == "masked":
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=SEQUENCE,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        model = BertForMaskedLM(config)
        hidden = random.random((ROWS, SEQUENCE)).argsort(axis=1) < PREDICTIONS
        labels[torch.tensor(~hidden)] = -100
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=WIDTH,
                n_layer=LAYERS,
                n_head=HEADS,
                n_positions=SEQUENCE,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            )
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(model) if variant == "compiled" else model

    def update() -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=variant == "bfloat16"):
            loss = forward(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return update, sum(parameter.numel() for parameter in model.parameters())


def keras_hub_model() -> tuple[Update, int]:
    """BertMaskedLM under plain `fit`."""
    import keras
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=4 * WIDTH,
        dropout=0.0,
        max_sequence_length=SEQUENCE,
    )
    model = keras_hub.models.BertMaskedLM(backbone)
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    random = np.random.default_rng(0)
    inputs = {
        "token_ids": random.integers(5, VOCABULARY, (ROWS, SEQUENCE)).astype("int32"),
        "segment_ids": np.zeros((ROWS, SEQUENCE), "int32"),
        "padding_mask": np.ones((ROWS, SEQUENCE), "int32"),
        "mask_positions": np.sort(random.random((ROWS, SEQUENCE)).argsort(axis=1)[:, :PREDICTIONS]).astype("int32"),
    }
    labels = random.integers(5, VOCABULARY, (ROWS, PREDICTIONS)).astype("int32")

    def update() -> float:
        history = model.fit(inputs, labels, batch_size=ROWS, epochs=1, verbose=0)
        return float(history.history["loss"][0])

    return update, model.count_params()


def peak() -> float:
    """Return the float32 rate of NumPy's matrix product, in operations per second."""
    matrix = np.ones((2048, 2048), np.float32)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(times)


def report(objective: str, seconds: dict[str, list[float]], peaks: list[float]) -> None:
    """Print tokens per second, the ratio to the best peer, and the share of the peak."""
    from models.cost import flops_per_token
    from models.size import derive_dimensions

    architecture = "encoder" if objective == "masked" else "decoder"
    dimensions = derive_dimensions("tiny", LAYERS, WIDTH, HEADS, feedforward_dim=704, architecture=architecture)
    flops = flops_per_token(dimensions, VOCABULARY, SEQUENCE, PREDICTIONS / SEQUENCE)
    peers = {name: values for name, values in seconds.items() if not name.startswith("ours")}
    best = min(peers, key=lambda name: statistics.median(peers[name]), default=None)
    print(f"\n{objective}: {flops / 1e6:.1f} MFLOP a token of ours; peak {max(peaks) / 1e9:.0f} GFLOP/s")
    for name, values in seconds.items():
        line = f"{name:24s} {TOKENS / statistics.median(values):8,.0f} tokens/s"
        if best:
            ratios = [other / own for other, own in zip(peers[best], values, strict=True)]
            line += f"   {statistics.median(ratios):5.2f} times {best} ({min(ratios):.2f} to {max(ratios):.2f})"
        if name.startswith("ours"):
            share = [flops * TOKENS / own / measured for own, measured in zip(values, peaks, strict=True)]
            line += f"   {statistics.median(share):.0%} of the peak"
        print(line)


if __name__ == "__main__":
    main()
