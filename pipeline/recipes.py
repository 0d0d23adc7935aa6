"""Recipe files: reading, overriding, showing, and saying precisely what is wrong with one.

Light on imports: Airflow reads recipes each time it parses the DAG files.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline import recipe_keys
from pipeline.config import Recipe
from pipeline.config.wording import shown
from pipeline.errors import RecipeError
from pipeline.recipe_keys import Keys, dotted, unknown_key

# A value is what YAML 1.2 says it is: `no`, `017`, `12:30` and `2026-04-01` are text, `1e-4` is a number.
SCALARS = {
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    "float": (
        re.compile(
            r"^[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$"
            r"|^\.(?:nan|NaN|NAN)$"
        ),
        list("-+.0123456789"),
    ),
    "merge": (re.compile(r"^<<$"), ["<"]),
}

# What YAML's own words mean to who writes recipes.
HINTS = {
    r"found character '\t'": "indent with blanks: YAML takes no tabs",
    "mapping values are not allowed here": "put text that holds `: ` in quotes; keys of one mapping begin in the same "
    "column",
    "<block": "keys of one mapping, and the dashes of one list, begin in the same column",
    "found unexpected end of stream": "a quote or a bracket is not closed",
}


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, apply overrides such as `pretrain.steps=200`, and check every key.

    Args:
        path: the YAML file. Relative paths inside it are relative to the working folder, not to the file.
        overrides: dotted names and YAML values.

    Raises:
        RecipeError: the file cannot be read, or lists every wrong key with its place, what was received and what
            is allowed.
    """
    file = Path(path)
    values, lines = _read(file)
    try:
        changed = apply_overrides(values, overrides) if overrides else values
    except RecipeError as error:
        raise RecipeError(f"{file}: {error}") from None
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        overridden = [_parse_override(text)[0] for text in overrides]
        raise RecipeError(_list_problems(error, changed, file, lines, overridden)) from None


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the recipe values with `dotted.name=value` overrides applied in order.

    A value is read as YAML, so `model.size=tiny`, `pretrain.steps=null` and `airflow.tags=[a, b]` work. A section that
    the file leaves out is created; a task or a source that it does not have is not, unless it is given whole.

    Raises:
        RecipeError: no `=`, invalid YAML, or a name that a recipe does not have.
    """
    changed = copy.deepcopy(dict(values))
    keys = Keys()
    for text in overrides:
        path, value = _parse_override(text)
        _check_known(path, changed, keys)
        section = changed
        for key in path[:-1]:
            if section.get(key) is None:
                section[key] = {}
            section = section[key]
        section[path[-1]] = value
    return changed


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe: every key with its type, bounds, default and description."""
    return Recipe.model_json_schema()


def show(recipe: Recipe) -> str:
    """Return the recipe as YAML with every value written out, defaults included; reading it gives the same recipe."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def list_recipes(folder: str | Path) -> list[Path]:
    """Return the recipe files of a folder, sorted by name.

    Raises:
        RecipeError: the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecipeError(
            f"{folder}: there is no such folder of recipes; start in the project's folder or set TRADEWIND_RECIPES"
        )
    return sorted(file for file in folder.glob("[!.]*.y*ml") if file.suffix in (".yaml", ".yml") and file.is_file())


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read as text."""


for _name, (_pattern, _first) in SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", *SCALARS["float"])


def _read(file: Path) -> tuple[dict[str, Any], dict[recipe_keys.Path, int]]:
    """Return the values of a recipe file, and the line of each key."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{file}: there is no such recipe file{_neighbours(file)}") from None
    except IsADirectoryError:
        raise RecipeError(f"{file}: received a folder, expected a recipe file{_neighbours(file / 'x')}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{file}:{line}: received bytes that are not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{file}: cannot be read: {error.strerror}") from None
    lines: dict[recipe_keys.Path, int] = {}
    values = _parse(text, str(file), lines)
    if values is None:
        raise RecipeError(f"{file}:1: received an empty file, expected a mapping with at least name, data and tasks")
    if not isinstance(values, dict):
        raise RecipeError(f"{file}:1: received {shown(values)}, expected a mapping with at least name, data and tasks")
    return values, lines


def _parse(text: str, origin: str, lines: dict[recipe_keys.Path, int]) -> Any:
    """Return the YAML value of `text`; fill `lines` with the line of each key; `origin` stands before each error."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _index(node, (), lines, set(), origin)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = " ".join(filter(None, (error.problem, error.context)))
        hint = next((f"; {hint}" for words, hint in HINTS.items() if words in what), "")
        raise RecipeError(f"{origin}:{line}: not valid YAML: {what}{hint}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{origin}:{line}: not valid YAML: {error.reason} (U+{error.character:04X})") from None


def _index(
    node: yaml.Node, path: recipe_keys.Path, lines: dict[recipe_keys.Path, int], seen: set[int], origin: str
) -> None:
    """Note the line of every key below `node`; a key that stands twice in one mapping is an error."""
    if id(node) in seen:  # an alias: noted where its anchor stands
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*path, number)] = item.start_mark.line + 1
            _index(item, (*path, number), lines, seen, origin)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place, line = (*path, key.value), key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if place in lines:
                    raise RecipeError(
                        f"{origin}:{line}: {dotted(place)}: received the key {shown(key.value)} twice, first in line "
                        f"{lines[place]}; keep one of them"
                    )
                lines[place] = line
                _index(value, place, lines, seen, origin)


def _list_problems(
    error: ValidationError,
    values: Mapping[str, Any],
    file: Path,
    lines: Mapping[recipe_keys.Path, int],
    overridden: Sequence[recipe_keys.Path],
) -> str:
    keys = Keys()
    problems: dict[str, None] = {}
    for detail in error.errors(include_url=False):
        path, sentence = recipe_keys.explain(detail, values, keys)
        if any(path[: len(start)] == start for start in overridden):
            place = f"{file} (overridden)"
        else:
            line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
            place = f"{file}:{line}" if line else str(file)
        problems[f"{place}: {sentence}"] = None
    if len(problems) == 1:
        return next(iter(problems))
    return "\n  ".join([f"{file}: {len(problems)} problems", *problems])


def _parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    name, equals, value = text.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        raise RecipeError(f"override: received {shown(text)}, expected dotted.name=value such as pretrain.steps=200")
    return path, _parse(value, f"override {text}", {})


def _check_known(path: tuple[str, ...], values: Mapping[str, Any], keys: Keys) -> None:
    """Raise unless a recipe may have the key at `path`, and all sections above it are there or can be made."""
    node, section = keys.schema, dict(values)
    for depth, key in enumerate(path, start=1):
        child, allowed = keys.child(node, key, section), keys.allowed(node, section)
        if child is None or (allowed and key not in allowed):
            raise RecipeError(f"override {unknown_key(path[:depth], allowed)}")
        if depth == len(path):
            return
        if not allowed and key not in section:  # the name of a task or of a source
            raise RecipeError(f"override {unknown_key(path[:depth], list(section))}")
        below = section.get(key)
        if not keys.holds_keys(child) or not (below is None or isinstance(below, dict)):
            place = dotted(path[:depth])
            what = shown(below) if keys.holds_keys(child) else keys.describe(child)
            raise RecipeError(
                f"override {dotted(path)}: received a key inside {place}, which is {what}; expected {place}=VALUE"
            )
        node, section = child, below or {}


def _neighbours(file: Path) -> str:
    if not file.parent.is_dir():
        return "; start in the project's folder"
    names = [str(known) for known in list_recipes(file.parent)]
    return f"; {file.parent} has: {', '.join(names)}" if names else f"; {file.parent} has no recipe"
