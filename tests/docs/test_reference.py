"""The reference of the recipe is the schema's."""

import runpy
from pathlib import Path

import pytest
import yaml

from pipeline.config import Recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def page() -> str:
    text: str = runpy.run_path(str(DOCS / "make_reference.py"))["reference"]()
    return text


def test_the_page_is_that_of_the_schema(page) -> None:
    written = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert written == page, "docs/recipes.md is stale; write it anew: python docs/make_reference.py"


def test_every_key_has_a_row(page) -> None:
    schema = Recipe.model_json_schema()
    for section in [schema, *schema["$defs"].values()]:
        for key in section["properties"]:
            assert f"\n| `{key}` | " in page


def test_every_link_leads_to_a_heading(page) -> None:
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    anchors = {
        "".join(c for c in heading.lower() if c.isalnum() or c in " -_").replace(" ", "-") for heading in headings
    }
    links = {part.partition(")")[0] for part in page.split("](#")[1:]}
    assert links
    assert links <= anchors
    assert len(anchors) == len(headings)


def test_the_recipe_of_the_own_data_page_is_sound() -> None:
    text = (DOCS / "own-data.md").read_text(encoding="utf-8")
    recipe = text.partition("cat > configs/tickets.yaml <<'END'\n")[2].partition("\nEND")[0]
    assert Recipe.model_validate(yaml.safe_load(recipe)).tasks["team"].data.label == "label"
