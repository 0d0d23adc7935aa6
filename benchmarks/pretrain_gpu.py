"""Pretraining a decoder of 124M parameters on one GPU, against a compiled torch GPT as nanoGPT has it.

    python benchmarks/pretrain_gpu.py --rounds 5

12 layers x 768, 12 heads, sequence 1024, vocabulary 50304, tied embeddings, bfloat16, no dropout, AdamW, clipping, 16
rows a micro-batch. Ours has a gated feed-forward of 2048, the other a plain one of 3072, so that both are of one size.
Each is a warm process of its own; they take turns, and every ratio is that of two neighbours in time. Prints tokens per
second, model FLOPs utilization against the card's data sheet, and the attention kernel that really ran. Goals: 45 % and
1.1 times. Needs JAX with CUDA and torch with CUDA; without torch `--only "ours jax"`. On a CPU, `--tiny` tries it out.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import dataclass

import numpy as np
from taking_turns import CONTESTANT, Update, serve, take_turns

NAMES = ("ours jax", "ours torch", "nanogpt compiled")


@dataclass(frozen=True)
class Shape:
    """What is trained."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    feedforward: int = 2048
    sequence: int = 1024
    vocabulary: int = 50304
    rows: int = 16

    @property
    def tokens(self) -> int:
        """Tokens of one update."""
        return self.rows * self.sequence


def main() -> None:
    """Let the contestants take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=20, help="updates of a turn")
    parser.add_argument("--rows", type=int, default=16, help="of an update")
    parser.add_argument("--tiny", action="store_true", help="a model for a CPU")
    parser.add_argument(CONTESTANT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = Shape(2, 64, 4, 176, 64, 512, options.rows) if options.tiny else Shape(rows=options.rows)
    if options.contestant:
        serve(*(nanogpt(shape) if options.contestant == "nanogpt compiled" else ours(shape)))
        return
    report(shape, take_turns(options.only, environment, options.rounds, options.updates))


def environment(name: str) -> dict[str, str]:
    """Return what a contestant needs; JAX must leave the others their part of the card."""
    return {
        "KERAS_BACKEND": "torch" if name == "nanogpt compiled" else name.split()[1],
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def ours(shape: Shape) -> tuple[Update, str]:
    """Our model and engine."""
    from models.kernels import attention_kernel
    from pipeline.config import Pretrain
    from pipeline.training.trial import Trial

    trial = Trial(dimensions(shape), Pretrain(), shape.vocabulary, shape.sequence, shape.rows)
    stepper, batch = trial.start("mixed_bfloat16")
    kernel = attention_kernel(shape.width // shape.heads, shape.sequence, "bfloat16", shape.heads)
    parameters = sum(math.prod(variable.shape) for variable in stepper.model.trainable_variables)
    return lambda: stepper.update(batch).loss, f"{parameters:,} parameters, attention kernel {kernel}"


def nanogpt(shape: Shape) -> tuple[Update, str]:
    """A GPT-2 of plain torch as nanoGPT trains it: compiled, autocast, flash attention, fused AdamW, TF32 elsewhere."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(shape.width, bias=False) for _ in range(2))
            self.attend = nn.Linear(shape.width, 3 * shape.width, bias=False)
            self.project = nn.Linear(shape.width, shape.width, bias=False)
            self.expand = nn.Linear(shape.width, 4 * shape.width, bias=False)
            self.contract = nn.Linear(4 * shape.width, shape.width, bias=False)

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            rows, length, width = states.shape
            parts = self.attend(self.norms[0](states)).split(width, dim=2)
            query, key, value = (part.view(rows, length, shape.heads, -1).transpose(1, 2) for part in parts)
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            states = states + self.project(mixed.transpose(1, 2).reshape(rows, length, width))
            return states + self.contract(functional.gelu(self.expand(self.norms[1](states))))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(shape.vocabulary, shape.width)
            self.positions = nn.Embedding(shape.sequence, shape.width)
            self.blocks = nn.Sequential(*(Block() for _ in range(shape.layers)))
            self.norm = nn.LayerNorm(shape.width, bias=False)

        def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            states = self.tokens(ids) + self.positions.weight
            logits = self.norm(self.blocks(states)) @ self.tokens.weight.T
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    model = Model().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), fused=True)
    ids = torch.tensor(np.random.default_rng(0).integers(5, shape.vocabulary, (shape.rows, shape.sequence + 1)))
    inputs, targets = (part.contiguous().to(device) for part in (ids[:, :-1], ids[:, 1:]))
    compiled = torch.compile(model)

    def update() -> torch.Tensor:
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = compiled(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    parameters = sum(parameter.numel() for parameter in model.parameters())
    return update, f"{parameters:,} parameters, torch {torch.__version__}"


def dimensions(shape: Shape):
    """Our dimensions of a shape."""
    from models.size import derive_dimensions

    sizes = (shape.layers, shape.width, shape.heads)
    return derive_dimensions("tiny", *sizes, feedforward_dim=shape.feedforward, architecture="decoder")


def report(shape: Shape, seconds: dict[str, list[float]]) -> None:
    """Print tokens per second, the utilization of the card, and the ratio to the baseline."""
    from models.cost import flops_per_token
    from pipeline.training.hardware import peak_flops

    peak = peak_flops("mixed_bfloat16")
    flops = flops_per_token(dimensions(shape), shape.vocabulary, shape.sequence)
    print(f"\n{flops / 1e6:.1f} MFLOP a token; peak {peak.flops_per_second / 1e12:,.1f} TFLOP/s ({peak.source})")
    peer = seconds.get("nanogpt compiled")
    for name, values in seconds.items():
        speed = shape.tokens / statistics.median(values)
        line = f"{name:18s} {speed:10,.0f} tokens/s"
        if name.startswith("ours"):
            line += f"   MFU {flops * speed / peak.flops_per_second:.1%}"
            ratios = [other / own for other, own in zip(peer or (), values, strict=bool(peer))]
            if ratios:
                line += f"   {statistics.median(ratios):.2f} times nanogpt ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)


if __name__ == "__main__":
    main()
