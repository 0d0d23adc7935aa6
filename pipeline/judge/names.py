"""What each kind of task is judged by: names only, for recipes, tables and sentences; nothing heavy is imported."""

from __future__ import annotations

# Headline metrics have an interval, and may be named by a gate; in the order in which tables show them.
HEADLINES: dict[str, tuple[str, ...]] = {
    "classification": (
        *("accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_f1", "weighted_f1"),
        *("roc_auc", "pr_auc", "log_loss", "calibration_error"),
    ),
    "multi_label": (
        *("subset_accuracy", "micro_precision", "micro_recall", "micro_f1"),
        *("macro_precision", "macro_recall", "macro_f1", "weighted_f1"),
        *("roc_auc", "pr_auc", "log_loss", "calibration_error"),
    ),
    "regression": ("rmse", "mse", "mae", "r2", "pearson", "spearman"),
    "tagging": ("f1", "precision", "recall", "macro_precision", "macro_recall", "macro_f1", "token_accuracy"),
    "question_answering": (
        *("exact_match", "token_f1"),
        *("answerable_exact_match", "answerable_token_f1", "unanswerable_accuracy"),
    ),
    "generation": ("bleu", "chrf", "exact_match"),
}
# What a kind is compared by where the recipe names no metric.
MAIN = {
    "classification": "macro_f1",
    "multi_label": "micro_f1",
    "regression": "rmse",
    "tagging": "f1",
    "question_answering": "token_f1",
    "generation": "chrf",
}
# What must be better than the majority answer where the recipe declares no threshold.
PLAIN = {
    "classification": "accuracy",
    "multi_label": "micro_f1",
    "regression": "rmse",
    "tagging": "token_accuracy",
    "question_answering": "exact_match",
    "generation": "chrf",
}
SMALLER_IS_BETTER = frozenset({"log_loss", "calibration_error", "rmse", "mse", "mae"})
# Kinds whose answers depend on something chosen on the validation rows.
TUNED = frozenset({"multi_label"})
EVERY_METRIC = tuple(dict.fromkeys(name for names in HEADLINES.values() for name in names))

# What the models that a candidate meets are called, and which a kind calls otherwise.
OPPONENTS = {"baseline": "linear baseline", "scratch": "model without pretraining", "majority": "majority answer"}
OWN_OPPONENTS = {"generation": {"baseline": "nearest neighbour", "majority": "plain answer"}}

SPOKEN = {
    "r2": "R²",
    "rmse": "RMSE",
    "mse": "MSE",
    "mae": "MAE",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "f1": "span F1",
    "precision": "span precision",
    "recall": "span recall",
    "token_accuracy": "word accuracy",
    "subset_accuracy": "subset accuracy",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "answerable_exact_match": "exact match of answerable questions",
    "answerable_token_f1": "token F1 of answerable questions",
    "unanswerable_accuracy": "accuracy on unanswerable questions",
    "bleu": "BLEU",
    "chrf": "chrF",
    "perplexity": "perplexity of a token",
}


def sign(metric: str) -> int:
    """Return 1 for a metric whose greater values are better, -1 for an error."""
    return -1 if metric in SMALLER_IS_BETTER else 1


def opponent(model: str, kind: str | None = None) -> str:
    """Return what a model is called beside a candidate of a kind: `linear baseline`, `champion`."""
    return OWN_OPPONENTS.get(kind or "", {}).get(model) or OPPONENTS.get(model, model)


def spoken(metric: str, *, start: bool = True) -> str:
    """Return `macro_f1` as `Macro-F1` (or `macro-F1` within a sentence)."""
    words = SPOKEN.get(metric) or metric.replace("_", "-").replace("f1", "F1")
    return words[0].upper() + words[1:] if start and words != "chrF" else words  # a name is written as it is
