"""Write docs/recipes.md from the schema of a recipe: python docs/make_reference.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.wording import KIND
from pipeline.recipe_keys import Keys

PAGE = Path(__file__).with_name("recipes.md")
NAMES = {
    "data.sources": "SOURCE",
    "data.checks.columns": "SOURCE",
    "data.checks.expectations": "SOURCE",
    "tasks": "TASK",
    "tasks.TASK.finetune.search.space": "KEY",
}
OPENING = """# Recipe reference

Every key that a recipe may hold. Made from the schema by `python docs/make_reference.py`: do not edit this page.

- `tradewind recipe check FILE` names each wrong key with its line, what was received and what is allowed.
- `tradewind recipe show FILE` prints the recipe with every default written out.
- `tradewind run FILE --set pretrain.steps=200` overrides one value by its dotted name.
- Relative paths are relative to the working folder. `SOURCE` and `TASK` stand for names that you choose.
"""

Node = dict[str, Any]


def reference() -> str:
    """Return the page."""
    keys = Keys()
    return "\n".join([OPENING, *(_section(keys, path, node) for path, node in _sections(keys, "", keys.schema))])


def _sections(keys: Keys, path: str, node: Node) -> Iterator[tuple[str, Node]]:
    """Yield every mapping with fixed keys, by its dotted path, parents first."""
    node = _resolve(keys, node)
    if KIND in node:
        for kind, target in node[KIND]["mapping"].items():
            yield f"{path} ({node[KIND]['propertyName']}: {kind})", _resolve(keys, {"$ref": target})
    elif "oneOf" in node:
        for option in node["oneOf"]:
            yield from _sections(keys, path, option)
    elif "properties" in node:
        yield path, node
        for name, child in node["properties"].items():
            yield from _sections(keys, f"{path}.{name}".lstrip("."), child)
    elif node.get("type") == "array":
        yield from _sections(keys, f"{path}[]", node["items"])
    elif entry := _entry(node):
        yield from _sections(keys, f"{path}.{NAMES.get(path, 'NAME')}", entry)


def _section(keys: Keys, path: str, node: Node) -> str:
    about = " ".join(node.get("description", "").split())
    lines = [
        f"## {path}" if path else "## Top",
        "",
        about,
        "",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, child in node["properties"].items():
        value, default = _value(keys, f"{path}.{name}".lstrip("."), child), _default(keys, child)
        if name in node.get("required", ()):
            default = "required"
        meaning = child.get("description", "")
        cells = (f"`{name}`", value, default, "" if meaning in value else meaning)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _value(keys: Keys, path: str, node: Node) -> str:
    below = next(_sections(keys, path, node), None)
    if below:
        place = below[0].partition(" (")[0]
        return f"see [{place}](#{_anchor(below[0])})"
    if entry := _entry(node):
        names = ", ".join(node.get("propertyNames", {}).get("enum", ())) or "text"
        return f"a mapping from {names} to {keys.describe(entry)}"
    return keys.describe(node)


def _default(keys: Keys, node: Node) -> str:
    resolved = _resolve(keys, node)
    if "properties" in resolved:
        return ""
    empty = {"array": [], "object": {}}.get(resolved.get("type", ""))
    default = node.get("default", empty)
    return "none" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def _entry(node: Node) -> Node | None:
    """Return the schema of the values of a mapping with free keys."""
    found = next(iter(node.get("patternProperties", {}).values()), None) or node.get("additionalProperties")
    return found if isinstance(found, dict) else None


def _resolve(keys: Keys, node: Node) -> Node:
    node = keys.section(node)
    return keys.schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _anchor(heading: str) -> str:
    """Return the fragment that GitHub gives a heading."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
