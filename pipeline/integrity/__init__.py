"""That a registered version is what was proven: checksums of its files, and a signature over them."""

from pipeline.integrity.keys import NO_KEYS, Keys
from pipeline.integrity.manifest import MANIFEST, SEALS, SIGNATURE, check_manifest, write_manifest

__all__ = ["MANIFEST", "NO_KEYS", "SEALS", "SIGNATURE", "Keys", "check_manifest", "write_manifest"]
