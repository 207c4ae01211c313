"""
A disk that is really full, for tests of what a server does then.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import need, skip_aloud


@contextmanager
def mounted_small_disk(place: Path) -> Iterator[Path]:
    """
    Mount a file system of 4 MiB; without the right to mount the test fails in CI and is skipped elsewhere, aloud.
    """
    place.mkdir()
    command: list[str | Path] = [need("mount"), "-t", "tmpfs", "-o", "size=4m", "tmpfs", place]
    mounted = subprocess.run(command, capture_output=True, check=False, text=True)
    if mounted.returncode:
        skip_aloud(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([need("umount"), place], check=True)


def fill(path: Path) -> None:
    """
    Take all the space there is.
    """
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
