import re
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from pipeline.config import Source

PAGE = Path(__file__).parents[2] / "docs" / "own-data.md"


def test_every_source_on_the_page_is_one_that_a_recipe_may_have():
    block = next(block for block in re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL) if "hf://" in block)
    sources = {name: TypeAdapter(Source).validate_python(value) for name, value in yaml.safe_load(block).items()}
    assert sources["given"].splits.keys() == {"train", "validation", "test"}
    assert sources["sales"].query == "SELECT body FROM notes ORDER BY id"
