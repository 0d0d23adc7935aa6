import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.outcome import example_of


@pytest.mark.parametrize(
    ("more", "expected"),
    [({}, "billing, delivery"), ({"words": [["pay", "parcel"]]}, "billing delivery")],
)
def test_an_example_tells_a_set_of_labels_from_the_tags_of_words(tmp_path, more, expected) -> None:
    labels = ["billing", "delivery"]
    row = {"row_id": ["1"], "text": ["pay parcel"], "text_pair": [None], "label": [labels], "predicted": [labels]}
    pq.write_table(pa.table(row | {"confidence": [0.9]} | more), tmp_path / "predictions.parquet")
    assert example_of(tmp_path) == {"text": "pay parcel", "label": expected, "confidence": 0.9}
