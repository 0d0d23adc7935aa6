"""What the trials of a search try: a round at a time, each told how all rounds before it went.

The first trials are spread evenly (a Latin hypercube, McKay 1979), then Optuna's tree-structured Parzen estimator
(Bergstra 2011) proposes. It is made anew for each round from the seed and the results so far, so that any process, at
any time, is proposed the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config.search import Range, Search, Values, listed
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

EXPLORED = 4  # trials at least that are spread evenly, whatever the others find
PATIENCE = 100  # proposals in a row of what was tried
DIGITS = 3  # of a proposed fraction, so that it can be written down; more where the range is narrow


def propose(search: Search, seed: int, told: Sequence[tuple[Values, float | None]]) -> list[Values]:
    """Return the values of the next round, none of which was tried before.

    Args:
        search: Search. Space, number of trials, and how many are proposed at once.
        seed: int. The recipe's.
        told: sequence of (values, metric), of all trials before. More is better; None: the training diverged.

    Raises:
        RecipeError: the space is too narrow for so many trials.
    """
    tried = [values for values, _ in told]
    candidates = (_written(values, search) for values in _candidates(search, seed, told))
    for _ in range(min(search.parallel, search.trials - len(told))):
        some = itertools.chain(itertools.islice(candidates, PATIENCE), _all(search))
        fresh = next((values for values in some if values not in tried), None)
        if fresh is None:
            raise RecipeError(
                f"finetune.search: after {len(tried)} of {search.trials} trials nothing is left to try in the space; "
                "lower trials or widen a range"
            )
        tried.append(fresh)
    return tried[len(told) :]


def _candidates(search: Search, seed: int, told: Sequence[tuple[Values, float | None]]) -> Iterator[Values]:
    yield from _spread(search, seed)[len(told) :]
    study, space = _study(search, seed, told)
    while True:
        yield study.ask(space).params


def _spread(search: Search, seed: int) -> list[Values]:
    """Return values of which, in every range, each of so many equal parts has one."""
    from scipy.stats.qmc import LatinHypercube

    cube = LatinHypercube(len(search.space), rng=seed).random(max(EXPLORED, search.parallel))  # (trials, keys)
    axes = sorted(search.space.items())
    return [{key: _at(axis, float(share)) for (key, axis), share in zip(axes, row, strict=True)} for row in cube]


def _at(axis: Range | list[Any], share: float) -> Any:
    """Return the value at a share of the way through the axis."""
    if isinstance(axis, list):
        return axis[int(share * len(axis))]
    value = axis.low + share * (axis.high - axis.low)
    if axis.log:
        value = axis.low * (axis.high / axis.low) ** share
    return round(value) if isinstance(axis.low, int) else value


def _study(
    search: Search, seed: int, told: Sequence[tuple[Values, float | None]]
) -> tuple[Study, dict[str, BaseDistribution]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed + len(told), n_startup_trials=1, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = {key: _distribution(axis) for key, axis in sorted(search.space.items())}
    for values, metric in told:
        state = optuna.trial.TrialState.PRUNED if metric is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(optuna.trial.create_trial(params=values, distributions=space, value=metric, state=state))
    return study, space


def _distribution(axis: Range | list[Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, list):
        return CategoricalDistribution(axis)
    if isinstance(axis.low, int) and isinstance(axis.high, int):
        return IntDistribution(axis.low, axis.high, log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _written(proposed: Values, search: Search) -> Values:
    """Return the values in the order of the recipe, fractions rounded to what is shown of them."""
    values = {}
    for key, axis in search.space.items():
        value = proposed[key]
        if isinstance(axis, Range) and isinstance(value, float):
            narrow = max(abs(axis.low), abs(axis.high)) / (axis.high - axis.low)
            digits = DIGITS + round(math.log10(max(narrow, 1.0)))
            value = min(max(float(f"{value:.{digits}g}"), axis.low), axis.high)
        values[key] = value
    return values


def _all(search: Search) -> Iterator[Values]:
    """Yield every combination of a space that has an end, for when proposals repeat themselves."""
    axes = [listed(axis) for axis in search.space.values()]
    return (dict(zip(search.space, values, strict=True)) for values in itertools.product(*axes))
