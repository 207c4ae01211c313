"""
The file that a database lies in, and the names that SQLite's other files take from it.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

PREFIX = "sqlite:///"


def path_in(url: str, unknown: Callable[[str], Exception]) -> Path:
    """
    Return the path in a ``sqlite:///path`` URL: what follows the third slash, so that a fourth makes it absolute.

    Raises *unknown*, of the URL's scheme, for any other: the URL itself is not repeated, as it may hold a password.
    """
    path = url.removeprefix(PREFIX)
    if path == url or path in ("", ":memory:"):
        raise unknown(urlsplit(url).scheme)
    return Path(path)


def make_private(path: Path) -> None:
    """
    Make the database's file where there is none, with mode 0600, which SQLite's other files take from it, and make
    its name survive a power cut. Those that are there become private too.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        sync_directory(path.parent)
    for file in files_of(path):
        with suppress(FileNotFoundError):
            file.chmod(0o600)


def files_of(path: Path) -> list[Path]:
    """
    Return the database's file, its log, and the log's index.
    """
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]


def sync_directory(directory: Path) -> None:
    """
    Make the names in *directory* survive a power cut.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
