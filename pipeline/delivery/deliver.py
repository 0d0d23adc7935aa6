"""Bring a registered version to a target, once, and keep in the registry that it is there.

The registry comes first: the alias has moved before anything is delivered, and a target that fails leaves it where it
is. What is delivered is kept as a tag of the version, so the next run delivers what is missing and nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from filelock import FileLock

from pipeline.delivery.target import Target, open_target
from pipeline.errors import DeliveryError, TradewindError
from pipeline.registry import Registry, Version
from pipeline.registry.moves import whoami

TAG = "delivery."


@dataclass(frozen=True)
class Delivery:
    """One version at one target.

    Attributes:
        url: str. The target.
        version: str. Which version is there.
        place: str. Where to find it: a folder, or the page of a commit.
        who: str. Whose process brought it.
        when: str. ISO 8601, UTC.
    """

    url: str
    version: str
    place: str
    who: str
    when: str


def require_targets(urls: Sequence[str]) -> None:
    """Check what each target needs of this machine, before anything is trained for it.

    Raises:
        RecipeError: a library or a token is missing, or a folder cannot be written.
    """
    for url in urls:
        open_target(url).require()


def deliver_all(
    registry: Registry, version: Version, urls: Sequence[str], say: Callable[[str], None]
) -> list[Delivery]:
    """Bring a version to every target that does not have it.

    Args:
        registry: remembers what is where.
        version: a registered one.
        urls: of the targets.
        say: told of each place where it is.

    Raises:
        DeliveryError: a target failed; the others have been tried all the same.
    """
    made, failures = [], []
    for url in urls:
        try:
            made.append(deliver(registry, version, url))
            say(f"{version.title} is at {made[-1].place}")
        except TradewindError as error:
            failures.append(str(error))
    if failures:
        raise DeliveryError(" | ".join(failures))
    return made


def deliver(registry: Registry, version: Version, url: str) -> Delivery:
    """Bring a version to a target, unless it is what was brought there last.

    Raises:
        DeliveryError: the target failed; registry and champion are as they were.
        IntegrityError: the version's files are not those that were registered.
        RecipeError: a library or a token is missing.
    """
    target = open_target(url)
    if not version.sealed:
        raise DeliveryError(
            f"{version.title} was registered without a manifest, and is not brought to {url}; run its recipe again, "
            "and it gets one"
        )
    target.require()
    lock = registry.artifact_root / f"delivery-{_short(url)}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        last = next(iter(deliveries_of(registry, version.name, url)), None)
        if last and last.version == version.version:
            return last
        version.checked_bundle()
        place = _push(target, version)
        made = Delivery(url, version.version, place, whoami(), datetime.now(UTC).isoformat())
        registry.tag(version, TAG + _short(url), json.dumps(asdict(made), ensure_ascii=False))
    return made


def deliveries_of(registry: Registry, model: str, url: str | None = None) -> list[Delivery]:
    """Return what of a model was brought where, newest first; with `url`, only to this target."""
    tags = [item for version in registry.versions(model) for item in version.tags.items()]
    made = [Delivery(**json.loads(text)) for name, text in tags if name.startswith(TAG)]
    return sorted((each for each in made if url in (None, each.url)), key=lambda each: each.when, reverse=True)


def _push(target: Target, version: Version) -> str:
    try:
        return target.push(version)
    except TradewindError:
        raise
    except Exception as error:  # the libraries of targets raise whatever they like
        raise DeliveryError(
            f"{version.title} could not be brought to {target.url}: {type(error).__name__}: {error}. It is registered, "
            "and the champion is as it was; when the cause is gone, run the recipe again, or: tradewind models push "
            f"{version.name}:{version.version} {target.url}"
        ) from error


def _short(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]
