"""The reload proof: a fresh process opens the export and answers the golden rows as the evaluated model did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline.errors import PublishError
from pipeline.publishing import reopen
from pipeline.publishing.archive import precision_of
from pipeline.publishing.reopen import likelihoods

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.progress import Progress
    from pipeline.publishing.golden import Golden

# The fresh process packs the golden rows with other neighbours than evaluation did, so sums run in another order: that
# moves a probability by about 1e-6 in float32, and by about the square root of that in half precision. A wrong file,
# tokenizer or label order moves it by far more on some of the golden rows.
TOLERANCES = {"float32": 1e-4, "mixed_float16": 5e-3, "mixed_bfloat16": 3e-2}
LEAST_SAME_TEXTS = 0.8
PROOF_SECONDS = 900


def prove(export: Path, golden: Golden, out: Path) -> dict[str, Any]:
    """Return the proof that a fresh process opens the export and answers as the trained model did."""
    labels = json.loads((export / "bundle.json").read_text("utf-8"))["labels"]
    if labels != golden.labels:
        raise PublishError(
            f"the bundle's labels {labels} are not those that were evaluated, {golden.labels}; evaluate this very "
            "bundle and publish again"
        )
    answers = ask(export, golden, out)
    precision = precision_of(export / "model.keras")
    tolerance = TOLERANCES[precision]
    worst = compare(answers, golden, tolerance, f"expected at most {tolerance:g} in {precision}")
    proof = {"rows": len(golden.texts), "max_difference": worst, "tolerance": tolerance, "precision": precision}
    return proof if golden.written is None else proof | _same_texts(export, golden, out)


def prove_on_backends(
    export: Path, golden: Golden, backends: Sequence[str], progress: Progress
) -> dict[str, dict[str, float]]:
    """Return for each Keras backend the proof that the `.keras` file answers there as the trained model did.

    Of a model that writes that is what the tokens of the references cost: what is drawn by lot differs by backend.
    """
    precision = precision_of(export / "model.keras")
    tolerance, proofs = TOLERANCES[precision], {}
    for backend in backends:
        environment = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
        expected = f"expected at most {tolerance:g} in {precision} on {backend}"
        with TemporaryDirectory() as folder:
            answers = ask(export, golden, Path(folder), f"the export on {backend}", environment)
        worst = compare(answers, golden, tolerance, expected, f"the export on {backend}")
        proofs[backend] = {"max_difference": worst, "tolerance": tolerance}
        progress.say(f"reopened on {backend}: {len(golden.texts)} rows agree within {worst:.1e}")
    return proofs


def compare(
    said: NDArray[np.float32], golden: Golden, tolerance: float, expected: str, what: str = "the reopened export"
) -> float:
    """Return the largest difference of answers from the golden ones, counted in `golden.unit`.

    Args:
        said: of a reopened bundle, as `ask` returns it.
        golden: what it was asked.
        tolerance: the largest difference accepted.
        expected: how the error says that.
        what: what answered, for the error.

    Raises:
        PublishError: the answers differ by more, or have another shape.
    """
    import numpy as np

    answers = likelihoods(golden.kind, said)
    if answers.shape != golden.answers.shape:
        raise PublishError(
            f"{what} answered with shape {answers.shape}, expected {golden.answers.shape} "
            "(golden rows or their words, labels); nothing is published"
        )
    differences = np.abs(answers.astype(np.float64) - golden.answers) / golden.unit  # (items, outputs)
    worst = float(differences.max())
    if not worst <= tolerance:  # also when it is NaN
        item = int(np.nan_to_num(differences.max(axis=1), nan=np.inf).argmax())
        number = "a probability" if golden.unit == 1.0 else "in units of the answers' spread, a number"
        number = number if golden.references is None else "what a token of the reference costs"
        raise PublishError(
            f"{what} answers differently from the evaluated model: {number} differs by {worst:.3g} "
            f"on {golden.texts[golden.rows[item]]!r}, {expected}; nothing is published. Evaluate this very bundle "
            "again; if it still differs, the saved model does not hold what was trained"
        )
    return worst


def _same_texts(export: Path, golden: Golden, out: Path) -> dict[str, float]:
    """Return the share of the golden rows that the fresh process writes the same text for.

    Two tokens that are all but equally likely may change places in another batch, so not every text need be the same.
    Answers that are drawn depend on the text alone, and so are compared too.
    """
    texts = json.loads(_texts_file(out).read_text("utf-8"))
    pairs = list(zip(texts, golden.written or (), golden.texts, strict=True))
    share = sum(again == before for again, before, _ in pairs) / len(pairs)
    if share < LEAST_SAME_TEXTS:
        again, before, text = next(pair for pair in pairs if pair[0] != pair[1])
        raise PublishError(
            f"the reopened export writes the same as the evaluated model for {share:.0%} of the golden rows, expected "
            f"at least {LEAST_SAME_TEXTS:.0%}; for {text!r} it writes {again!r}, not {before!r}; nothing is published. "
            f"Evaluate this very bundle again, with the decode settings of {export / 'bundle.json'}"
        )
    return {"same_texts": share}


def ask(
    folder: Path,
    golden: Golden,
    out: Path,
    what: str = "the export",
    environment: Mapping[str, str] | None = None,
) -> NDArray[np.float32]:
    """Return what a new Python process answers with nothing but a bundle's folder, as `reopen` writes it.

    Args:
        folder: of the bundle.
        golden: what is asked.
        out: receives what is asked and answered.
        what: the bundle, for errors.
        environment: variables of the process besides this one's, from which it inherits the chosen Keras backend.

    Raises:
        PublishError: it cannot open the bundle, loads what its format must do without, or takes too long.
    """
    import numpy as np

    rows, answers = out / "golden.jsonl", out / "golden.npy"
    pairs = golden.pairs or [None] * len(golden.texts)
    references: Sequence[str | None] = golden.references or [None] * len(golden.texts)
    questions = [
        {"text": text, "text_pair": pair, "reference": reference}
        for text, pair, reference in zip(golden.texts, pairs, references, strict=True)
    ]
    rows.write_text("".join(json.dumps(question) + "\n" for question in questions), "utf-8")
    answers.unlink(missing_ok=True)
    arguments = (str(folder), str(rows), str(answers), str(_texts_file(out)))
    run_alone(reopen.__name__, arguments, what, environment)
    return np.asarray(np.load(answers, allow_pickle=False), dtype=np.float32)


def run_alone(module: str, arguments: Sequence[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a module of ours in a Python process of its own. Raises PublishError: it fails, or takes too long."""
    command = [sys.executable, "-m", module, *arguments]
    variables = os.environ | dict(environment or {})
    try:
        process = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=PROOF_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PublishError(
            f"a fresh process was not done with {what} within {PROOF_SECONDS} s; nothing is published. Check the "
            "machine's load and try again"
        ) from error
    if process.returncode:
        raise PublishError(
            f"{what} cannot be used by a fresh process (exit {process.returncode}); nothing is published. Its last "
            f"words: {' | '.join(process.stderr.strip().splitlines()[-3:])}"
        )


def _texts_file(out: Path) -> Path:
    return out / "golden.json"
