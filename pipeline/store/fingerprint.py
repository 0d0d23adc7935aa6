"""What makes two executions of a step the same: its name, the recipe values it reads, its inputs, and its source.

The source of a step is every module of `pipeline` and `models` it can reach by imports, lazy ones included, and every
file beside such a module that the module names in a string (a template, a style sheet). Comments count: an edit that
changes nothing costs a recomputation, an edit that is overlooked would cost the truth.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("pipeline", "models")

# What these modules do reaches a step only through the values it is given, and those are factors of their own.
FRAME = (
    "pipeline.cli",
    "pipeline.config",
    "pipeline.errors",
    "pipeline.flow",
    "pipeline.nodes",
    "pipeline.progress",
    "pipeline.recipes",
    "pipeline.store",
)

# Part of every fingerprint; raise it when the layout of artifacts changes so that older ones must not be hits.
FORMAT = "tradewind-artifact-1"

FILE_NAME = re.compile(r"\w[\w/-]*(?:\.\w+)+")
MODULE_NAME = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


@dataclass(frozen=True)
class Factors:
    """Everything that decides what a step makes.

    `recipe` holds the recipe values that the step reads (JSON-able), `inputs` the content hash of each input by name,
    `source` the hash of the modules that define the step.
    """

    step: str
    recipe: Mapping[str, Any]
    inputs: Mapping[str, str]
    source: str

    def fingerprint(self) -> str:
        """Return the 64 hexadecimal digits that name the artifact; the order of keys does not matter."""
        return digest(
            {
                "format": FORMAT,
                "step": self.step,
                "recipe": dict(self.recipe),
                "inputs": dict(self.inputs),
                "source": self.source,
            }
        )


def digest(value: Any) -> str:
    """Return the sha256 of a JSON-able value, whatever the order of its keys. NaN is a ValueError."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def source_hash(module: str, roots: Mapping[str, Path] | None = None) -> str:
    """Return the hash of the sources that `module` is made of; see `source_modules`."""
    files = source_modules(module, roots)
    return digest({name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()})


def source_modules(module: str, roots: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Return name and file of `module`, of all it imports inside our packages minus the frame, and of their data files.

    `roots` maps a top-level package to its folder; default: the installed `pipeline` and `models`. Reads the syntax
    trees and imports nothing. Imports under `TYPE_CHECKING` do not run and do not count; a string that names a module
    (for `importlib` or `python -m`) does. Raises ValueError when `module` does not exist.
    """
    roots = roots or {package: _folder(package) for package in PACKAGES}
    if _file(module, roots) is None:
        raise ValueError(f"no module {module!r} in the packages {', '.join(roots)}")
    found: dict[str, Path] = {}
    waiting = [*_parents(module), module]
    while waiting:
        name = waiting.pop()
        path = _file(name, roots)
        if name in found or path is None or (_in_frame(name) and name != module):
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        tree = ast.parse(path.read_bytes(), filename=str(path))
        found |= {f"{package}/{file.relative_to(path.parent)}": file for file in _data_files(tree, path.parent)}
        for imported in _imports(tree, package):
            waiting += [*_parents(imported), imported]
    return dict(sorted(found.items()))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield every dotted name that the module may import, wherever in its code the import stands."""
    for node in _running_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            # `from package import name` may name a module as well as a function
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE_NAME.fullmatch(node.value):
            yield node.value


def _data_files(tree: ast.AST, folder: Path) -> Iterator[Path]:
    """Yield the files in or below `folder` that a string in the module names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and FILE_NAME.fullmatch(node.value):
            path = folder / node.value
            if path.is_file():
                yield path


def _running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _in_frame(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in FRAME)


def _file(module: str, roots: Mapping[str, Path]) -> Path | None:
    top, *rest = module.split(".")
    if top not in roots:
        return None
    base = roots[top].joinpath(*rest)
    candidates = [base / "__init__.py", *([base.parent / f"{base.name}.py"] if rest else [])]
    return next((path for path in candidates if path.is_file()), None)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"the package {package!r} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))
