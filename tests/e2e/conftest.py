from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.full_disk import mounted_small_disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """
    Return a file system of 4 MiB that is the test's own.
    """
    with mounted_small_disk(tmp_path / "small") as place:
        yield place
