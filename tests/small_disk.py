"""A file system of a given size, for what a full disk must not destroy."""

import shutil
import subprocess
from pathlib import Path

import pytest

MOUNT = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]


def on_small_disk(folder: Path, size: str) -> list[str]:
    """Return the beginning of a command that runs the rest with a disk of `size`, such as 512k, at `folder`.

    The test is skipped where nobody but the administrator may mount one; Linux lets users in namespaces of their own.
    """
    mounted = [*MOUNT, f'mount -t tmpfs -o size={size} tmpfs "$1"; shift; exec "$@"', "sh", str(folder)]
    if not shutil.which("unshare") or subprocess.run([*mounted, "true"]).returncode:
        pytest.skip("no right to mount a small file system here")
    return mounted
