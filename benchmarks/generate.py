"""Tokens per second of generation: with keys and values kept, against whole rows read anew for every token.

    python benchmarks/generate.py [--size mini] [--rows 16] [--prompt 32] [--new-tokens 64] [--beams 1] [--rounds 3]

A decoder with random weights, greedily or with beams; no text ends early. The peer without a cache is one compiled
forward pass of the whole row for each token (greedy only); the other, where torch and transformers are installed, is
`generate` of a Llama of the same dimensions. All run in one process, alternating; compiling is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time

from pipeline.backend import select_backend

VOCABULARY, START, END, PAD = 8192, 1, 2, 0


def main() -> None:
    """Run the rounds and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="auto")
    arguments = parser.parse_args()
    print(f"backend {select_backend(arguments.backend)}")
    runs = make_runs(arguments)
    for run in runs.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(arguments.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            rates[name].append(arguments.rows * arguments.new_tokens / (time.perf_counter() - start))
        print(f"round {number + 1}: " + "  ".join(f"{name} {found[-1]:,.0f}/s" for name, found in rates.items()))
    for name, found in rates.items():
        if name != "cached":
            ratios = [ours / theirs for ours, theirs in zip(rates["cached"], found, strict=True)]
            print(f"median ratio cached / {name} {statistics.median(ratios):.2f}")


def make_runs(arguments):
    """Return functions that each write the same number of tokens behind the same prompts."""
    import numpy as np

    from models.backbones import Decoder
    from models.decoding import Decoding, generate
    from models.language_models import CausalLanguageModel
    from models.size import derive_dimensions

    d = derive_dimensions(arguments.size, architecture="decoder")
    backbone = Decoder(
        VOCABULARY, d.num_layers, d.hidden_dim, d.num_heads, d.num_key_value_heads, d.feedforward_dim, name="decoder"
    )
    model = CausalLanguageModel(backbone)
    model.build_from_config({})
    random = np.random.default_rng(0)
    prompts = random.integers(3, VOCABULARY, (arguments.rows, arguments.prompt)).astype(np.int32)
    decoding = Decoding(arguments.new_tokens, num_beams=arguments.beams)

    def cached() -> None:
        batch_size = arguments.rows * arguments.beams
        written = generate(model, list(prompts), decoding, start=START, end=END, pad=PAD, batch_size=batch_size)
        if written.finished.any():
            print("some texts ended early, so fewer tokens were written than are counted")

    runs = {"cached": cached}
    if arguments.beams == 1:
        runs["uncached"] = uncached_run(model, prompts, arguments.new_tokens)
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        runs["transformers"] = transformers_run(d, prompts, arguments)
    else:
        print("torch and transformers are not both installed (extras torch and benchmarks): no comparison with them")
    return runs


def uncached_run(model, prompts, new_tokens: int):
    """Return a function that reads the whole rows again for every token."""
    import numpy as np
    from keras import ops

    from models.decoding.program import compiled

    rows, width = prompts.shape
    segments = np.ones((rows, width + new_tokens), np.int32)
    segments[:, width:] = 0

    def next_token(model, inputs):
        row = {name: inputs[name] for name in ("token_ids", "segment_ids")}
        states = model.backbone.states_at(row, inputs["positions"])
        return ops.argmax(model.backbone.vocabulary_logits(states)[:, 0], axis=-1)

    step = compiled(model, next_token)

    def uncached() -> None:
        tokens = np.pad(prompts, ((0, 0), (0, new_tokens)))
        seen = segments.copy()
        for place in range(width, width + new_tokens):
            positions = np.full((rows, 1), place - 1, np.int32)
            found = step({"token_ids": tokens, "segment_ids": seen, "positions": positions})
            tokens[:, place] = ops.convert_to_numpy(found)
            seen[:, place] = 1

    return uncached


def transformers_run(d, prompts, arguments):
    """Return a function that writes with transformers, from a Llama of the same dimensions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=d.hidden_dim,
        intermediate_size=d.feedforward_dim,
        num_hidden_layers=d.num_layers,
        num_attention_heads=d.num_heads,
        num_key_value_heads=d.num_key_value_heads,
        tie_word_embeddings=True,
    )
    peer = LlamaForCausalLM(config).eval()
    ids = torch.from_numpy(prompts).long()
    options = {
        "max_new_tokens": arguments.new_tokens,
        "min_new_tokens": arguments.new_tokens,
        "num_beams": arguments.beams,
        "do_sample": False,
        "pad_token_id": PAD,
    }

    def run() -> None:
        with torch.no_grad():
            peer.generate(ids, attention_mask=torch.ones_like(ids), **options)

    return run


if __name__ == "__main__":
    main()
