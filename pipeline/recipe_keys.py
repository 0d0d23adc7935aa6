"""Which keys a recipe may hold at each dotted path, and what each of them accepts: read from the schema of `Recipe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic_core import ErrorDetails

from pipeline.config import Recipe
from pipeline.config.wording import KIND, Node, describe, did_you_mean, options_of, resolve, shown

Path = tuple[str | int, ...]

KEY_ERROR = "[key]"


class Keys:
    """Walks the JSON schema of `Recipe` by dotted path."""

    def __init__(self) -> None:
        self.schema: Node = Recipe.model_json_schema()

    def child(self, node: Node, key: str | int, value: object) -> Node | None:
        """Return the schema of `key` inside `node`, or None when it is not allowed there.

        `value` is what the recipe holds at `node`: it tells which variant of a union (a source's `kind`) is meant.
        """
        node = self.variant(node, value)
        if isinstance(key, int):
            return self._resolve(node["items"]) if "items" in node else None
        found = node.get("properties", {}).get(key)
        if found is None:
            found = next(iter(node.get("patternProperties", {}).values()), None) or node.get("additionalProperties")
        if isinstance(found, dict):
            return self._resolve(found)
        return {} if found else None

    def variant(self, node: Node, value: object) -> Node:
        """Return the schema that `value` is held to, where `node` offers several; or all keys of them."""
        node = self._resolve(node)
        if KIND in node:
            mapping = node[KIND]["mapping"]
            kind = value.get(node[KIND]["propertyName"]) if isinstance(value, Mapping) else None
            if isinstance(kind, str) and kind in mapping:
                return self._resolve({"$ref": mapping[kind]})
            variants = [self._resolve(option)["properties"] for option in node["oneOf"]]
            return {"type": "object", "properties": {key: value for keys in variants for key, value in keys.items()}}
        options = [self._resolve(option) for option in options_of(node)]
        structured = [option for option in options if "items" in option or "properties" in option]
        alike = [option for option in structured if ("items" in option) == isinstance(value, list)]
        return next(iter(alike or structured), node)

    def allowed(self, node: Node, value: object) -> list[str]:
        """Return the keys that may stand in `node`; empty when its keys are free names."""
        node = self.variant(node, value)
        return list(node.get("properties", {})) or list(node.get("propertyNames", {}).get("enum", ()))

    def holds_keys(self, node: Node) -> bool:
        """Return whether `node` is a mapping."""
        return self.variant(node, None).get("type") == "object"

    def locate(self, location: Sequence[str | int], values: object) -> tuple[Path, Node, Node]:
        """Return the path of the keys in a pydantic error location, and the schemas of its parent and of itself.

        Pydantic puts names of union variants between the keys; they are dropped.
        """
        path: Path = ()
        parent: Node = {}
        node = self.schema
        value = values
        for part in location:
            node = self.section(node)
            if KIND in node and part in node[KIND]["mapping"]:
                node = self._resolve({"$ref": node[KIND]["mapping"][part]})
            elif part == KEY_ERROR:
                node = parent.get("propertyNames", {})
            elif not options_of(node) or isinstance(part, int):
                path += (part,)
                parent, node = node, self.child(node, part, value) or {}
                value = _inside(value, part)
            elif isinstance(value, Mapping | list):
                node = self.variant(node, value)
        return path, parent, node

    def section(self, node: Node) -> Node:
        """Return the schema of a section that may be null; any other schema as it is."""
        options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
        return self._resolve(options[0]) if len(options) == 1 and "$ref" in options[0] else node

    def describe(self, node: Node) -> str:
        """Return what `node` accepts, as the end of a sentence that starts with `expected`."""
        return describe(node, self.schema["$defs"])

    def _resolve(self, node: Node) -> Node:
        return resolve(node, self.schema["$defs"])


def explain(error: ErrorDetails, values: object, keys: Keys) -> tuple[Path, str]:
    """Return the path of the key that a pydantic error is about, and one sentence: the path, received, allowed."""
    path, parent, node = keys.locate(error["loc"], values)
    name, received = dotted(path), error["input"]
    match error["type"]:
        case "value_error":
            sentence = str(error["ctx"]["error"])
            if path:
                return path, f"{name}: {sentence}"
            # Those of the whole recipe start with the path of the key that they blame.
            return tuple(sentence.split(" ", 1)[0].split(".")), sentence
        case "extra_forbidden":
            return path, unknown_key(path, keys.allowed(parent, _follow(values, path[:-1])))
        case "missing":
            return path, f"{name}: missing; expected {keys.describe(node)}"
        case "union_tag_not_found" | "union_tag_invalid":
            kinds = ", ".join(node[KIND]["mapping"])
            kind = node[KIND]["propertyName"]
            if error["type"] == "union_tag_not_found":
                return path, f"{name}.{kind}: missing; expected one of {kinds}"
            tag = received[kind]
            return (
                *path,
                kind,
            ), f"{name}.{kind}: received {shown(tag)}{did_you_mean(tag, node[KIND]['mapping'])}; " + (
                f"expected one of {kinds}"
            )
        case "invalid_key":
            return path, f"{name}: received the key {shown(received)}; expected text: put it in quotes"
    if error["loc"][-1] == KEY_ERROR:
        hint = did_you_mean(received, node.get("enum", ()))
        return path, f"{name}: received the key {shown(received)}{hint}; expected {keys.describe(node)}"
    hint = did_you_mean(received, node.get("enum", ()))
    expected = keys.describe(node) or error["msg"]
    quotes = " in quotes" if node.get("type") == "string" and isinstance(received, int | float) else ""
    return path, f"{name}: received {shown(received)}{hint}; expected {expected}{quotes}"


def unknown_key(path: Path, allowed: Sequence[str]) -> str:
    """Return the sentence about a key that is not allowed where it stands."""
    place = f"in {dotted(path[:-1])}" if path[:-1] else "at the top"
    hint = did_you_mean(path[-1], allowed)
    return f"{dotted(path)}: received the unknown key {shown(path[-1])}{hint}; allowed {place}: {', '.join(allowed)}"


def dotted(path: Path) -> str:
    """Return `tasks.chapter.data`."""
    return ".".join(map(str, path))


def _inside(value: object, part: str | int) -> object:
    try:
        return value[part]  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        return None


def _follow(values: object, path: Path) -> object:
    for part in path:
        values = _inside(values, part)
    return values
