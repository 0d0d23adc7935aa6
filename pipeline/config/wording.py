"""How errors speak of values and of what is allowed: in the words of a recipe, whatever refused them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

Node = dict[str, Any]  # of a JSON schema

KIND = "discriminator"


def describe(node: Node, definitions: Mapping[str, Node]) -> str:
    """Return what a schema accepts, as the end of a sentence that starts with `expected`."""
    node = resolve(node, definitions)
    if KIND in node:
        return f"a mapping whose `{node[KIND]['propertyName']}` is one of {', '.join(node[KIND]['mapping'])}"
    if options := options_of(node):
        return " or ".join(describe(option, definitions) for option in options)
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    if node.get("type") == "array":
        return f"a list of {describe(node['items'], definitions)}"
    return _plain(node)


def refusal(error: Mapping[str, Any], section: type[BaseModel]) -> str:
    """Return one sentence about an error of pydantic: the key of a section, what was received, what is allowed."""
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "value_error":
        return f"{place} {error['ctx']['error']}".strip()
    schema = section.model_json_schema()
    allowed = describe(schema["properties"][error["loc"][0]], schema.get("$defs", {}))
    return f"{place}: received {shown(error['input'])}; expected {allowed}"


def resolve(node: Node, definitions: Mapping[str, Node]) -> Node:
    """Return the schema that a reference stands for; any other as it is."""
    while "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    return node


def options_of(node: Node) -> Sequence[Node]:
    """Return the schemas of a union that no key of the value tells apart."""
    return node.get("anyOf") or ([] if KIND in node else node.get("oneOf", []))


def did_you_mean(received: object, known: Iterable[str]) -> str:
    """Return `, did you mean "x"?` for the closest of the known names, or nothing."""
    close = difflib.get_close_matches(str(received).lower(), list(known), n=1, cutoff=0.6)
    return f", did you mean {shown(close[0])}?" if close else ""


def shown(value: object) -> str:
    """Return a received value, short enough for an error: text in quotes, containers by what they hold."""
    if isinstance(value, Mapping):
        return f"a mapping with the keys {', '.join(map(str, value))}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _plain(node: Node) -> str:
    """Return what a schema without variants accepts."""
    match node.get("type"):
        case "integer":
            return "a whole number" + _bounds(node)
        case "number":
            return "a number" + _bounds(node)
        case "string":
            return "text" + (f" ({node.get('description', node['pattern'])})" if "pattern" in node else "")
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "object" if "properties" in node:
            return f"a mapping with keys out of: {', '.join(node['properties'])}"
        case "object":
            return "a mapping" + (" with at least one entry" if node.get("minProperties") else "")
    return str(node.get("description", "any value"))


def _bounds(node: Node) -> str:
    low = f"at least {node['minimum']}" if "minimum" in node else ""
    low = f"above {node['exclusiveMinimum']}" if "exclusiveMinimum" in node else low
    high = f"at most {node['maximum']}" if "maximum" in node else ""
    high = f"below {node['exclusiveMaximum']}" if "exclusiveMaximum" in node else high
    limits = " and ".join(filter(None, (low, high)))
    return f", {limits}" if limits else ""
