"""One registered version: what it is, and the check that its files are still those that were registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.integrity import NO_KEYS, SIGNATURE, Keys, check_manifest

PREFIX = "tradewind."
FINGERPRINT = PREFIX + "fingerprint"
PUBLISH = PREFIX + "publish"
JUDGED_AGAINST = PREFIX + "judged_against"
SEAL = PREFIX + "manifest"  # the sha256 of the files' manifest; versions of before have none
NOBODY = "none"


@dataclass(frozen=True)
class Version:
    """One registered version.

    Args:
        name: of the registered model.
        version: its number.
        fingerprint: of the finetune artifact it was made from.
        judged_against: the version its gate compared it with; None when there was none.
        bundle: local folder of the registered files.
        tags: the registry's tags, names without the `tradewind.` prefix.
        aliases: such as `champion`.
        keys: whose signature it must have to be loaded.

    """

    name: str
    version: str
    fingerprint: str
    judged_against: str | None
    bundle: Path
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    keys: Keys = field(default=NO_KEYS, compare=False)

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{self.name!r} version {self.version}"

    @property
    def sealed(self) -> bool:
        """Whether it was registered with a manifest."""
        return SEAL.removeprefix(PREFIX) in self.tags

    @property
    def signed(self) -> bool:
        """Whether it has a signature, whoever's."""
        return (self.bundle / SIGNATURE).is_file()

    def checked_bundle(self) -> Path:
        """Return the folder of its files once they are known to be those that were registered, and signed if need be.

        Raises:
            IntegrityError: a file is missing, changed or new, the files are another version's, or the signature that
                is asked for is missing or wrong.
        """
        digest = self.tags.get(SEAL.removeprefix(PREFIX))
        if digest is not None or self.signed:
            found = check_manifest(self.bundle, self.title, digest)["of"]
            if found != (own := whose(self.name, self.fingerprint, self.tags.get("publish", ""))):
                raise IntegrityError(
                    f"the files of {self.title} in {self.bundle} belong to {found}, expected {own}; they are not "
                    "loaded. Restore its folder from a backup"
                )
        if self.keys.verify:
            self.keys.verify_signature(self.bundle, self.title)
        return self.bundle

    @property
    def withdrawn(self) -> str | None:
        """Why it was taken back and is not published again by itself; None when it was not."""
        return self.tags.get("withdrawn")

    @property
    def stays_back(self) -> str:
        """What a run says of a candidate that was taken back."""
        return (
            f"Version {self.version} of {self.name} was taken back: {self.withdrawn}. It is not published by itself "
            f"again; by hand: tradewind models promote {self.name}:{self.version} --why REASON"
        )


def whose(model: str, fingerprint: str, publish_reference: str) -> dict[str, str]:
    """Return what the manifest says of whom its files belong to, so that no other version's can take their place."""
    return {"model": model, "fingerprint": fingerprint, "publish": publish_reference}
