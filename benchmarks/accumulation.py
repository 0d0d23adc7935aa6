"""What accumulation costs: an update of 8 micro-batches, against 8 times forward and backward of one alone.

    python benchmarks/accumulation.py [--backend jax] [--precision float32] [--rounds 5]

A masked language model of 4 layers x 256, 8192 tokens, on random rows. The peer has no optimizer and adds nothing up:
the ratio (goal: at most 1.05) holds everything that an update does beside its micro-batches: summing gradients, their
norm, clipping, AdamW. Both run in one process, alternating; compiling is left out. Before that, the peak memory of
processes that make updates of 1 and of 8 micro-batches of the same size (goal: equal).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

from pipeline.backend import select_backend


def main() -> None:
    """Print one line per round, the median ratio, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=16, help="of a micro-batch")
    parser.add_argument("--micro-batches", type=int, default=8)
    parser.add_argument("--only-memory", action="store_true", help="make two updates and print the peak in MiB")
    arguments = parser.parse_args()
    if not arguments.only_memory:
        # First, because a child's peak begins with its parent's size.
        peaks = [peak_memory(number) for number in (1, arguments.micro_batches)]
        print(f"peak memory {peaks[0]} MiB with 1 micro-batch, {peaks[1]} MiB with {arguments.micro_batches}")
    backend = select_backend(arguments.backend)
    stepper, batch = make_training(arguments.precision, arguments.optimizer, arguments.rows, arguments.micro_batches)
    if arguments.only_memory:
        for _ in range(2):
            float(stepper.update(batch).loss)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    print(f"backend {backend}, {arguments.precision}, {arguments.optimizer}")
    compare(stepper, batch, arguments.rounds)


def make_training(precision: str, optimizer: str, rows: int, micro_batches: int):
    """Return a stepper and a batch for it."""
    import numpy as np

    from models.size import derive_dimensions
    from pipeline.config import Pretrain
    from pipeline.training.trial import Trial

    dimensions = derive_dimensions("small", num_layers=4, hidden_dim=256, num_heads=4)
    stepper, batch = Trial(dimensions, Pretrain(optimizer=optimizer), 8192, 128, rows).start(precision)
    return stepper, {name: np.repeat(array, micro_batches, axis=0) for name, array in batch.items()}


def compare(stepper, batch, rounds: int) -> None:
    """Time updates against their micro-batches alone."""
    micro_batches = len(batch["weights"])
    micro_batch = {name: array[0] for name, array in batch.items()}
    differentiate = bare_gradients(stepper)

    def ours() -> None:
        float(stepper.update(batch).loss)

    def theirs() -> None:
        for _ in range(micro_batches):
            differentiate(micro_batch)

    differentiate(micro_batch)
    ours()
    ratios = []
    for number in range(rounds):
        seconds = []
        for run in (ours, theirs):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
        print(f"round {number + 1}: update {seconds[0]:.3f} s  micro-batches {seconds[1]:.3f} s  {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")


def bare_gradients(stepper):
    """Return a function that computes the gradients of one micro-batch, waits for them and throws them away."""
    import keras

    model, objective = stepper.model, stepper.objective
    match keras.backend.backend():
        case "jax":
            import jax

            def loss(trainable, fixed, micro_batch):
                variables = [*model.trainable_variables, *model.non_trainable_variables]
                with keras.StatelessScope(state_mapping=list(zip(variables, [*trainable, *fixed], strict=True))):
                    return objective(model, micro_batch, True).loss

            gradients = jax.jit(jax.grad(loss))
            return lambda micro_batch: jax.block_until_ready(gradients(*stepper.state[:2], micro_batch))
        case "tensorflow":
            import tensorflow as tf

            variables = [v.value for v in model.trainable_variables]

            @tf.function(jit_compile=True)
            def tape_gradients(micro_batch):
                with tf.GradientTape() as tape:
                    loss = objective(model, micro_batch, True).loss
                return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]

            return lambda micro_batch: tape_gradients({n: tf.constant(a) for n, a in micro_batch.items()})[0].numpy()
        case _:
            import torch

            parameters = [v.value for v in model.trainable_variables]

            def autograd_gradients(micro_batch):
                tensors = {name: keras.ops.convert_to_tensor(array) for name, array in micro_batch.items()}
                torch.autograd.grad(objective(model, tensors, True).loss, parameters)

            return autograd_gradients


def peak_memory(micro_batches: int) -> int:
    """Return the MiB that a process of its own, with the options of this one, has held at most."""
    options = [*sys.argv[1:], "--micro-batches", str(micro_batches), "--only-memory"]
    output = subprocess.run([sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(output.split()[-1])


if __name__ == "__main__":
    main()
