"""What an int8 model's answers have become: measured on test rows, and held to bounds of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import PublishError
from pipeline.judge.names import HEADLINES
from pipeline.publishing.proof import compare

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.judge.kinds import Predictions
    from pipeline.publishing.golden import Golden

# Eight bits move a logit by a few hundredths of its size: that decides between answers that were all but equally
# likely, and may move the probability of one of them far. A broken file gives other answers to most rows.
TOLERANCE = 0.25
LEAST_SAME_ANSWERS = 0.95


def change_of(predictions: Predictions, said: NDArray[np.float32]) -> dict[str, Any]:
    """Return the share of the same answers (None of numbers), and each headline metric before and after.

    Args:
        predictions: the evaluated answers to some test rows.
        said: the int8 model's answers to them, as `proof.ask` returns them.
    """
    from pipeline.judge.kinds import KINDS
    from pipeline.judge.predictions import predict

    kind, rows = predictions.kind, predictions.rows
    again = predict(kind, rows, predictions.known, _by_row(predictions, said), predictions.tuned)
    before, after = (KINDS[kind].measure(each) for each in (predictions, again))
    metrics = {
        name: {"before": before[name], "after": after[name]}
        for name in HEADLINES[kind]
        if before.get(name) is not None and after.get(name) is not None
    }
    return {"same_answers": _same(kind, rows["predicted"], again.rows["predicted"]), "metrics": metrics}


def check_quantised(golden: Golden, said: NDArray[np.float32], change: dict[str, Any], what: str) -> dict[str, Any]:
    """Return `change` and how far the answers are apart. Raises PublishError: too far, or too many others."""
    worst = compare(said, golden, TOLERANCE, f"expected at most {TOLERANCE:g} in int8", what)
    share = change["same_answers"]
    if share is not None and share < LEAST_SAME_ANSWERS:
        raise PublishError(
            f"{what} gives the same answer as the evaluated model to {share:.1%} of {len(golden.texts)} test rows, "
            f"expected at least {LEAST_SAME_ANSWERS:.0%}; nothing is published. Remove it from publish.formats, or "
            "train longer: eight bits decide between answers that are almost equally likely"
        )
    return {"max_difference": worst, "tolerance": TOLERANCE, "least_same_answers": LEAST_SAME_ANSWERS} | change


def _by_row(predictions: Predictions, said: NDArray[np.float32]) -> Any:
    """Return the answers as `Kind.predict` takes them."""
    import numpy as np

    if predictions.kind == "tagging":
        ends = np.cumsum([len(row) for row in predictions.answers])
        return np.split(said, ends[:-1])
    return said[:, 0] if predictions.kind == "regression" else said


def _same(kind: str, before: Any, after: Any) -> float | None:
    """Return the share of rows, or of a tagger words, whose answers are the same; None of numbers."""
    if kind == "regression":
        return None
    pairs = list(zip(before, after, strict=True))
    if kind == "tagging":
        pairs = [pair for one, other in pairs for pair in zip(one, other, strict=True)]
    elif kind == "multi_label":
        pairs = [(set(one), set(other)) for one, other in pairs]
    return sum(bool(one == other) for one, other in pairs) / max(len(pairs), 1)
