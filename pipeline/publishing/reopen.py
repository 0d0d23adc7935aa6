"""The fresh process of the reload proof: `python -m pipeline.publishing.reopen BUNDLE TEXTS.jsonl OUT.npy OUT.json`.

A module of its own, so that the code that answers in the proof, and nothing else, counts as code of the publish step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.formats.formats import FORMATS, format_of


class Absent(MetaPathFinder, Loader):
    """Makes packages as good as not installed: to import one is a ModuleNotFoundError.

    TensorFlow loads Keras and JAX where it finds them, so that to look afterwards what is loaded would prove nothing.

    Args:
        packages: top-level names.
    """

    def __init__(self, packages: Collection[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Return that this loads the module, when it is of one of the packages."""
        return ModuleSpec(name, self) if name.partition(".")[0] in self.packages else None

    def exec_module(self, module: ModuleType) -> None:
        """Raise ModuleNotFoundError."""
        name = module.__name__
        raise ModuleNotFoundError(f"{name} was imported, and this format must do without it", name=name)


def write_answers(bundle: Path, texts: Path, out: Path, written: Path) -> None:
    """Write what the bundle says of the `text` and `text_pair` of every JSON line as .npy, (items, ...) float32.

    The items are texts or, of a tagger, the words of all texts, one after the other. Of a model that writes, the output
    is what a token of the `reference` costs, and `written` gets a JSON list of the texts that it writes.
    """
    import numpy as np

    from pipeline.bundle import Bundle

    rows = [json.loads(line) for line in texts.read_text("utf-8").split("\n") if line]
    pairs = [row["text_pair"] for row in rows]
    asked, seconds = [row["text"] for row in rows], pairs if any(pairs) else None
    sys.meta_path.insert(0, Absent(FORMATS[format_of(json.loads((bundle / "bundle.json").read_text("utf-8")))].without))
    opened = Bundle.load(bundle)
    answers: Any = opened.answer(asked, seconds)
    if opened.kind == "generation":
        from pipeline.likelihood import surprise

        written.write_text(json.dumps(answers.texts), "utf-8")
        nats, tokens = surprise(opened, asked, seconds, [row["reference"] for row in rows]).T
        answers = nats / tokens
    if isinstance(answers, list):
        answers = np.concatenate(answers)
    np.save(out, answers if answers.ndim > 2 else answers.reshape(len(answers), -1))


def likelihoods(kind: str, answers: Any) -> Any:
    """Return what two processes must agree on in a model's answers: what is as near as its logits are.

    Of answers to questions that is how probable the best are, (rows, answers): which of two that are equally probable
    comes first is decided by chance.
    """
    return answers[..., 2] if kind == "question_answering" else answers


if __name__ == "__main__":
    write_answers(*(Path(argument) for argument in sys.argv[1:5]))
