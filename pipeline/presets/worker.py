"""What needs KerasHub before training, in a process of its own: `python -m pipeline.presets.worker REQUEST ANSWER`.

KerasHub brings Keras and TensorFlow along. A process that plans a run or prepares texts stays free of them, and one
that trains with others may touch no device before it has joined them.
"""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import TradewindError
from pipeline.presets.folder import DESCRIPTION, PRESET, TOKENIZER

ENCODERS = ("BertBackbone", "DistilBertBackbone", "ElectraBackbone", "RobertaBackbone")


class PresetError(TradewindError):
    """A preset cannot be had, or is of no kind that can be fine-tuned here."""


def fetch(address: str, out: Path) -> None:
    """Load a preset and write it as a folder that needs no network; see `pipeline.presets.folder`.

    Args:
        address: str. `hub://NAME`, `hf://USER/REPO`, `kaggle://...`, or a folder.
        out: Path. An existing folder.

    Raises:
        PresetError: KerasHub cannot load it, or its backbone or tokenizer cannot be used here.
    """
    import keras_hub

    from pipeline.data.tokens.vocabulary import Vocabulary
    from pipeline.presets.convert import SAMPLES, convert, differing

    name = _name(address)
    backbone = _loaded(keras_hub.models.Backbone, name, load_weights=False)
    kind = type(backbone).__name__
    if kind not in ENCODERS:
        raise PresetError(f"it holds a {kind}; supported are {', '.join(ENCODERS)}")
    theirs = _loaded(keras_hub.tokenizers.Tokenizer, name)
    ours = convert(theirs)
    vocabulary = Vocabulary.of(ours)
    if vocabulary.size > backbone.vocabulary_size:
        raise PresetError(
            f"its tokenizer has {vocabulary.size} tokens and its backbone embeds {backbone.vocabulary_size}; the two "
            "do not belong together"
        )
    require_same(differing(ours, theirs, SAMPLES))
    backbone = _loaded(keras_hub.models.Backbone, name)  # now with its weights
    folder = out / PRESET
    backbone.save_to_preset(str(folder))
    theirs.save_to_preset(str(folder))
    (folder / "metadata.json").unlink(missing_ok=True)  # holds the date, and would make two equal copies differ
    ours.save(str(out / TOKENIZER))
    description = {
        "architecture": PRESET,
        "class": kind,
        "vocabulary_size": vocabulary.size,
        "separator": vocabulary.separator,
        "hidden_dim": backbone.hidden_dim,
        "num_layers": backbone.num_layers,
        "max_sequence_length": backbone.max_sequence_length,
    }
    (out / DESCRIPTION).write_text(json.dumps(description, indent=2), encoding="utf-8")


def prove(folder: Path, texts: list[str]) -> None:
    """Compare the converted tokenizer of a fetched preset with KerasHub's own on texts.

    Raises:
        PresetError: they differ.
    """
    import keras_hub

    from pipeline.data.tokens.tokenizer import load_tokenizer
    from pipeline.presets.convert import differing

    theirs = keras_hub.tokenizers.Tokenizer.from_preset(str(folder / PRESET))
    require_same(differing(load_tokenizer(folder / TOKENIZER), theirs, texts))


def require_same(difference: dict[str, Any] | None) -> None:
    """Raise PresetError when there is a text that was encoded differently."""
    if difference:
        raise PresetError(
            f"its tokenizer, once converted, does not say what KerasHub's says of {difference['text']!r}: "
            f"{difference['ours']} instead of {difference['kerashub']}; this preset cannot be used"
        )


def _name(address: str) -> str:
    """Return what `from_preset` calls it."""
    import keras_hub

    if not address.startswith("hub://"):
        return address
    name, known = address.removeprefix("hub://"), keras_hub.models.Backbone.presets
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        raise PresetError(
            f"KerasHub has no preset {name!r}; did you mean {' or '.join(near)}?"
            if near
            else f"KerasHub has no preset {name!r}; its list is at https://keras.io/keras_hub/presets"
        )
    return name


def _loaded(kind: Any, name: str, **options: Any) -> Any:
    try:
        return kind.from_preset(name, **options)
    except Exception as error:  # every hub has its own errors
        raise PresetError(
            f"KerasHub cannot load it ({type(error).__name__}: {_first_line(error)}); check the name and, the first "
            "time, the network and the rights to read it"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


if __name__ == "__main__":
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = {}
    try:
        if "address" in request:
            fetch(request["address"], Path(request["folder"]))
        else:
            prove(Path(request["folder"]), request["texts"])
    except TradewindError as error:
        answer = {"error": str(error)}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")
