"""Low-rank adapters as an export of their own, and the way back: on the backbone that they were trained on.

adapters.npz, adapters.json    what the fine-tuning changed (`pipeline/tuning/adapters.py`)
model.json                     how the whole model is made up, as Keras writes it
backbone.json                  the sha256 of the backbone's files
tokenizer.json, bundle.json    as in the whole bundle
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import PublishError

ADAPTERS = "adapters"
MODEL, BACKBONE = "model.json", "backbone.json"
WHOLE = ("tokenizer.json", "bundle.json")
OF_A_BACKBONE = ("backbone.json", "backbone.weights.h5", "preset/**/*")


def export_adapters(export: Path, trained: Path, backbone: Path) -> None:
    """Write export/adapters/, and put it together again to see that it gives the export's very weights.

    Args:
        export: folder with the whole bundle.
        trained: what `save_adapters` left.
        backbone: artifact of `pretrain` that the model was fine-tuned from.

    Raises:
        PublishError: adapters and backbone make another model than the export.
    """
    import numpy as np

    from pipeline.bundle import Bundle

    out = export / ADAPTERS
    shutil.copytree(trained, out)
    for name in WHOLE:
        shutil.copy2(export / name, out)
    with zipfile.ZipFile(export / "model.keras") as archive:
        (out / MODEL).write_bytes(archive.read("config.json"))
    (out / BACKBONE).write_text(json.dumps({"sha256": _digest(backbone)}) + "\n")
    with TemporaryDirectory() as folder:
        rebuild_bundle(out, backbone, Path(folder))
        again, published = (Bundle.load(each).model.get_weights() for each in (Path(folder), export))
    if not all(np.array_equal(one, other) for one, other in zip(again, published, strict=True)):
        raise PublishError(
            "the adapters on their backbone are not the model that was fine-tuned, so the adapters alone are not "
            "published; set publish.adapters to false"
        )


def rebuild_bundle(adapters: Path, backbone: Path, out: Path) -> None:
    """Put exported adapters on their backbone, merge them, and write the whole bundle.

    Args:
        adapters: what `export_adapters` wrote.
        backbone: artifact of `pretrain`, the one that the adapters were trained on.
        out: receives model.keras, tokenizer.json and bundle.json.

    Raises:
        AdapterError: a file is missing, or the backbone is another one.
    """
    import keras

    import pipeline.formats.keras  # noqa: F401 - Keras knows the classes of the models once they are imported
    from models.lora import merge_adapters
    from pipeline.backbone import load_backbone, load_encoder
    from pipeline.tuning.adapters import AdapterError, load_adapters

    if lacking := [name for name in (MODEL, BACKBONE, *WHOLE) if not (adapters / name).is_file()]:
        raise AdapterError(f"{adapters} lacks {', '.join(lacking)}; give the `{ADAPTERS}` folder of an export")
    expected, found = json.loads((adapters / BACKBONE).read_text())["sha256"], _digest(backbone)
    if expected != found:
        raise AdapterError(
            f"{backbone} is not the backbone of the adapters in {adapters} (sha256 {found[:12]}, expected "
            f"{expected[:12]}); give the artifact of `pretrain` that they were trained on: `tradewind show RUN` has it"
        )
    model: Any = keras.saving.deserialize_keras_object(json.loads((adapters / MODEL).read_text()), safe_mode=True)
    writes = hasattr(model, "backbone")
    own = model.backbone if writes else model.encoder
    own.set_weights((load_backbone if writes else load_encoder)(backbone, 0.0).get_weights())
    load_adapters(model, own, adapters)
    merge_adapters(model)
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "model.keras")
    for name in WHOLE:
        shutil.copy2(adapters / name, out)


def _digest(backbone: Path) -> str:
    """Return the sha256 of what makes a backbone."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in OF_A_BACKBONE for path in backbone.glob(pattern) if path.is_file()}):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{path.relative_to(backbone).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()
