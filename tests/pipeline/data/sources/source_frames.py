"""What the tests of sources share."""

import pandas as pd
import pyarrow as pa


def frame(tables) -> pd.DataFrame:
    """Return the tables of a source as one frame, after checking what every table promises."""
    tables = list(tables)
    for table in tables:
        assert set(table.schema.types) == {pa.string()}
        assert 0 < len(table) <= 65_536
        assert table.column_names[-1] == "fault"
        table.validate(full=True)
    return pa.concat_tables(tables, promote_options="default").to_pandas()
