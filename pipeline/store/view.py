"""A recipe as one step may see it: only the values the step declares, so that its fingerprint cannot miss one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Declaration:
    """The dotted paths a step may read. `*` stands for any one key; a path covers everything below it."""

    reads: tuple[str, ...]
    uses: tuple[str, ...] = ()

    def patterns(self) -> list[Keys]:
        """Return all paths, split at their dots."""
        return [tuple(pattern.split(".")) for pattern in (*self.reads, *self.uses)]

    def covers(self, path: Keys) -> bool:
        """Tell whether `path` is declared, itself or through a section above it."""
        return any(_agree(pattern, path) for pattern in self.patterns() if len(pattern) <= len(path))

    def leads_below(self, path: Keys) -> bool:
        """Tell whether something below `path` is declared."""
        return any(_agree(pattern, path) for pattern in self.patterns() if len(pattern) > len(path))

    def undeclared(self, path: Keys) -> AttributeError:
        """Return the error for a read of `path`."""
        return AttributeError(
            f"the step reads recipe.{'.'.join(path)}, which it does not declare; it declares "
            f"reads={list(self.reads)}, uses={list(self.uses)}. Add it to `reads` (then it is part of the "
            "fingerprint), or to `uses` when it cannot change what the step makes"
        )


class SectionView:
    """A section of the recipe of which only a part is declared: fields by attribute, nothing else."""

    def __init__(self, section: BaseModel, path: Keys, declaration: Declaration) -> None:
        self._section = section
        self._path = path
        self._declaration = declaration

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in type(self._section).model_fields:
            raise self._declaration.undeclared((*self._path, name))
        return _restrict(getattr(self._section, name), (*self._path, name), self._declaration)

    def __repr__(self) -> str:
        return f"<view of recipe{''.join(f'.{part}' for part in self._path)}: {self._declaration}>"


class SectionsView(Mapping[str, Any]):
    """A dict of sections of which only a part is declared: iterates over the declared keys only."""

    def __init__(self, sections: Mapping[str, Any], path: Keys, declaration: Declaration) -> None:
        self._sections = sections
        self._path = path
        self._declaration = declaration

    def __getitem__(self, key: str) -> Any:
        path = (*self._path, key)
        if not self._declared(key):
            raise self._declaration.undeclared(path)
        return _restrict(self._sections[key], path, self._declaration)

    def __contains__(self, key: object) -> bool:
        return any(key == known for known in self)

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._sections if self._declared(key))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _declared(self, key: str) -> bool:
        path = (*self._path, key)
        return self._declaration.covers(path) or self._declaration.leads_below(path)


class View(SectionView):
    """A recipe restricted to what a step declares.

    `reads` are dotted paths whose values are part of the fingerprint; `uses` may be read but do not change what the
    step makes. `*` stands for any one key: `tasks.*.data`. Reading anything else raises AttributeError. Raises
    ValueError when a path does not exist in the recipe.
    """

    def __init__(self, recipe: BaseModel, reads: tuple[str, ...], uses: tuple[str, ...] = ()) -> None:
        super().__init__(recipe, (), Declaration(reads, uses))
        for pattern in (*reads, *uses):
            list(_expand(recipe, tuple(pattern.split("."))))

    def values(self) -> dict[str, Any]:
        """Return the value at each declared read, by dotted path, as plain JSON."""
        return {
            ".".join(path): to_jsonable_python(value)
            for pattern in self._declaration.reads
            for path, value in _expand(self._section, tuple(pattern.split(".")))
        }

    def leaves(self) -> dict[str, Any]:
        """Return the same values one by one: sections resolved into their keys, lists left whole."""
        return dict(_leaves(self.values()))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _restrict(value: Any, path: Keys, declaration: Declaration) -> Any:
    if declaration.covers(path):
        return value
    if not declaration.leads_below(path):
        raise declaration.undeclared(path)
    if isinstance(value, BaseModel):
        return SectionView(value, path, declaration)
    if isinstance(value, Mapping):
        return SectionsView(value, path, declaration)
    return value  # an optional section that is absent: None


def _agree(pattern: Keys, path: Keys) -> bool:
    return all(expected in ("*", part) for expected, part in zip(pattern, path, strict=False))


def _expand(value: Any, pattern: Keys, path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield path and value of everything that `pattern` stands for."""
    if not pattern or value is None:
        yield path, value
        return
    children = _children(value)
    if pattern[0] != "*" and pattern[0] not in children:
        raise ValueError(
            f"a step declares recipe.{'.'.join((*path, *pattern))}, but the recipe has no "
            f"{'.'.join((*path, pattern[0]))}; it has: {', '.join(children)}"
        )
    for key in children if pattern[0] == "*" else [pattern[0]]:
        yield from _expand(children[key], pattern[1:], (*path, key))


def _children(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return dict(value) if isinstance(value, Mapping) else {}
