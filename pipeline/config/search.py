"""A bounded search for the values of a section: what is tried, and whether the section would take it."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Discriminator, Field, PositiveInt, Tag, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo

from pipeline.config.section import Section
from pipeline.config.wording import describe, did_you_mean, shown

Values = dict[str, Any]
S = TypeVar("S", bound=Section)

MOST_TRIALS = 200
MOST_CHECKED = 1000  # combinations of values that are looked at when a recipe is read


class Range(Section):
    """All numbers from low to high, both included; whole ones where the key takes whole numbers."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="as likely between 0.001 and 0.01 as between 0.01 and 0.1")

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"log is true and low is {self.low}; a logarithm needs low above 0")
        return self


def _shape(value: object) -> str:
    return "list" if isinstance(value, list | tuple) else "range"


Listed = Annotated[list[Any], Field(min_length=1)]
Axis = Annotated[Annotated[Range, Tag("range")] | Annotated[Listed, Tag("list")], Discriminator(_shape)]


class Search(Section):
    """Several fine-tunings that differ in some values; the best by the task's metric on validation rows is kept."""

    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = Field(description="fine-tunings in all")
    parallel: PositiveInt = Field(
        4, description="trials that are proposed together, so may run at the same time; the next learn from them"
    )
    space: dict[str, Axis] = Field(
        min_length=1,
        description="key of `finetune`, such as learning_rate or lora.rank, to what is tried of it: a list of values, "
        "or a range of numbers",
    )

    @property
    def rounds(self) -> int:
        """How often trials are proposed."""
        return -(-self.trials // self.parallel)

    def size(self) -> int | None:
        """Return how many combinations the space has; None when a range of fractions makes them endless."""
        sizes = [_size(axis) for axis in self.space.values()]
        return None if None in sizes else math.prod(size or 0 for size in sizes)

    def corners(self) -> Iterator[Values]:
        """Yield combinations of listed values and ends of ranges: all or, where they are too many, some at random."""
        ends = [listed(axis) or [axis.low, axis.high] for axis in self.space.values()]  # type: ignore[union-attr]
        combinations: Iterator[tuple[Any, ...]] = itertools.product(*ends)
        if math.prod(map(len, ends)) > MOST_CHECKED:
            chance = random.Random(0)  # noqa: S311  chooses what is looked at, the same each time
            combinations = (tuple(chance.choice(end) for end in ends) for _ in range(MOST_CHECKED))
        return (dict(zip(self.space, values, strict=True)) for values in combinations)


def listed(axis: Range | list[Any]) -> list[Any]:
    """Return the values of a list, and of a range of a few whole numbers; of another range nothing."""
    if isinstance(axis, list):
        return axis
    size = _size(axis)
    return list(range(int(axis.low), int(axis.high) + 1)) if size and size <= MOST_CHECKED else []


def checked_space(search: Search, section: type[Section], left_out: tuple[str, ...]) -> Search:
    """Return the search with every value as the section's own keys read it.

    Args:
        search: Search. As it stands in the recipe.
        section: type of Section. Whose keys are searched.
        left_out: tuple of str. Keys of it that cannot be.

    Raises:
        ValueError: a key that the section does not have, a value that it refuses, or fewer combinations than trials.
    """
    space = {key: _read(key, axis, section, left_out) for key, axis in search.space.items()}
    found = search.model_copy(update={"space": space})
    size = found.size()
    if size is not None and size < search.trials:
        raise ValueError(
            f"trials is {search.trials}, and the space has {size} different combinations; set trials to {size}, which "
            "tries all of them, or widen the space"
        )
    return found


def with_values(section: S, values: Mapping[str, Any]) -> S:
    """Return the section with these values, by dotted key, and no search. Raises ValidationError when it refuses."""
    changed = section.model_dump() | {"search": None}
    for key, value in values.items():
        *above, name = key.split(".")
        inner = changed
        for part in above:
            inner = inner[part]
        inner[name] = value
    return type(section).model_validate(changed)


def spoken_values(values: Mapping[str, Any]) -> str:
    """Return the values of a trial as a person reads them: `learning_rate=0.0003, dropout=0.1`."""
    return ", ".join(f"{key}={spoken_value(value)}" for key, value in values.items())


def spoken_value(value: Any) -> str:
    """Return a value as a recipe would have it."""
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _read(key: str, axis: Range | list[Any], section: type[Section], left_out: tuple[str, ...]) -> Range | list[Any]:
    field = _field(key, section, left_out)
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]

    def read(value: Any, end: str = "") -> Any:
        try:
            return adapter.validate_python(value)
        except ValidationError:
            schema = adapter.json_schema()
            allowed = describe(schema, schema.get("$defs", {}))
            raise ValueError(f"space.{key}: received {end}{shown(value)}; expected {allowed}") from None

    if isinstance(axis, list):
        values = [read(value) for value in axis]
        if len(values) > len({repr(value) for value in values}):
            raise ValueError(f"space.{key}: a value stands twice in {axis}; leave it once")
        return values
    low, high = read(axis.low, "low: "), read(axis.high, "high: ")
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        raise ValueError(f"space.{key}: received a range, and the key takes no numbers; list the values: [...]")
    return Range(low=low, high=high, log=axis.log)


def _field(key: str, section: type[Section], left_out: tuple[str, ...]) -> FieldInfo:
    """Return the field of a dotted key."""
    keys = {name: field for name, field in _leaves(section) if name not in left_out}
    if key in keys:
        return keys[key]
    if key in left_out:
        raise ValueError(f"space.{key}: {key} cannot be searched; remove it from the space")
    allowed = ", ".join(sorted(keys))
    raise ValueError(f"space: received the unknown key {shown(key)}{did_you_mean(key, keys)}; allowed in it: {allowed}")


def _leaves(section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys of a section that hold a value, those of its sections dotted."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from ((f"{name}.{inner}", found) for inner, found in _leaves(field.annotation))
        else:
            yield name, field


def _size(axis: Range | list[Any]) -> int | None:
    if isinstance(axis, list):
        return len(axis)
    return axis.high - axis.low + 1 if isinstance(axis.low, int) and isinstance(axis.high, int) else None
