"""Examples per second of fine-tuning: our engine on packed rows, against Keras's own `fit` on padded rows.

    python benchmarks/packing.py [--rounds 5] [--examples 4096]

The same classifier, texts (ICD-10-CM diagnosis descriptions) and optimizer; the peer pads each text to the row length,
as the usual recipe does. Both run in one process, alternating; the first round of each compiles and is left out.
Prints one line per round and the median ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time

from pipeline.backend import select_backend


def main() -> None:
    """Run the rounds and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=4096)
    parser.add_argument("--sequence-length", type=int, default=64)
    parser.add_argument("--backend", default="auto")
    arguments = parser.parse_args()
    print(f"backend {select_backend(arguments.backend)}")
    ours, theirs = make_runs(arguments.examples, arguments.sequence_length)
    ours()
    theirs()
    ratios = []
    for number in range(arguments.rounds):
        rates = []
        for run in (ours, theirs):
            start = time.perf_counter()
            run()
            rates.append(arguments.examples / (time.perf_counter() - start))
        ratios.append(rates[0] / rates[1])
        print(f"round {number + 1}: packed {rates[0]:,.0f}/s  padded fit {rates[1]:,.0f}/s  ratio {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


def make_runs(examples: int, sequence_length: int):
    """Return two functions that each train one pass over the same examples."""
    import keras
    import numpy as np

    from models.backbones import Encoder
    from models.classifier import SegmentClassifier
    from models.objectives import segment_labels
    from models.size import derive_dimensions
    from pipeline.config import Finetune, Tokenizer
    from pipeline.data import icd10
    from pipeline.data.tokens.encode import TextEncoder
    from pipeline.data.tokens.packing import pack
    from pipeline.data.tokens.tokenizer import make_tokenizer
    from pipeline.training.optimizer import make_optimizer
    from pipeline.training.steppers import make_stepper

    records = [r.fields for r in icd10.read() if r.fields["kind"] == "description"][::5][:examples]
    texts = [record["text"] for record in records]
    names = sorted({record["chapter"] for record in records})
    labels = np.array([names.index(record["chapter"]) for record in records], np.int32)
    tokenizer = make_tokenizer(texts, Tokenizer())
    encoder = TextEncoder(tokenizer)
    documents = encoder.encode(texts, max_length=sequence_length)
    dimensions = derive_dimensions("tiny")

    def classifier(segments: int) -> SegmentClassifier:
        encoder = Encoder(
            tokenizer.get_vocab_size(),
            dimensions.num_layers,
            dimensions.hidden_dim,
            dimensions.num_heads,
            dimensions.num_key_value_heads,
            dimensions.feedforward_dim,
        )
        model = SegmentClassifier(encoder, len(names), segments)
        model.build_from_config({})
        return model

    rows = pack(documents, sequence_length, seed=0, pad=encoder.vocabulary.pad, max_segments=sequence_length // 4)
    packed_model = classifier(rows.documents.shape[1])
    stepper = make_stepper(packed_model, make_optimizer(Finetune(), 1e-3, 1000, packed_model), segment_labels)
    size = 32
    batches = []
    for start in range(0, len(rows) - size + 1, size):
        taken = slice(start, start + size)
        owners = rows.documents[taken]
        batches.append(
            {
                "token_ids": rows.token_ids[taken].astype(np.int32)[None],
                "segment_ids": rows.segment_ids[taken].astype(np.int32)[None],
                "targets": np.where(owners >= 0, labels[owners], 0).astype(np.int32)[None],
                "weights": (owners >= 0).astype(np.float32)[None],
            }
        )

    padded = pack(documents, sequence_length, seed=0, pad=encoder.vocabulary.pad, max_segments=1)
    inputs = {"token_ids": padded.token_ids.astype(np.int32), "segment_ids": padded.segment_ids.astype(np.int32)}
    targets = labels[padded.documents]
    # As many examples per update as a packed batch holds on average, so that both make the same number of updates.
    per_update = round(len(documents) / len(batches))
    padded_model = classifier(1)
    padded_model.compile(
        make_optimizer(Finetune(), 1e-3, 1000, padded_model),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def ours() -> None:
        losses = [stepper.update(batch).loss for batch in batches]
        float(losses[-1])

    def theirs() -> None:
        padded_model.fit(inputs, targets, batch_size=per_update, epochs=1, verbose=0)

    return ours, theirs


if __name__ == "__main__":
    main()
