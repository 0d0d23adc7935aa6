"""Runs the tests of models, training and its steps on KERAS_BACKEND, in one process: Keras has one backend in each."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
RARITIES = "test_what_stands_in_every_text_counts_least_and_what_never_came_nothing"


def main(folder: Path) -> int:
    from exchange import check_answers, write_answers

    write_answers(folder)
    sys.stdout.write(f"compared with {' '.join(check_answers(folder))}\n")
    return pytest.main(
        [
            str(TESTS / "models"),
            str(TESTS / "pipeline" / "training"),
            str(TESTS / "pipeline" / "test_pretrain.py"),
            str(TESTS / "pipeline" / "test_finetune.py"),
            str(TESTS / "pipeline" / "tuning"),
            f"{TESTS / 'pipeline' / 'test_ngram_bag.py'}::{RARITIES}",
            f"--ignore={TESTS / 'pipeline' / 'training' / 'test_batches.py'}",  # NumPy only
            "-mnot slow",
            "-pno:cacheprovider",
            "--durations=8",
        ]
    )


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    sys.exit(main(Path(sys.argv[1])))
