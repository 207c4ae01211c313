"""
A disk without room, in words: what databases and the system call it differs, and often names something else.
"""

import shutil
from contextlib import suppress
from pathlib import Path

ROOM_BYTES = 1 << 20  # With less a server cannot begin: an empty database and its log take a fifth of it.
SQLITE = "sqlite:///"


def full_disk(place: str | Path) -> str:
    """
    Return that the disk of *place*, a path or a URL of a database, is full; nothing when it is not, or lies elsewhere.
    """
    text = str(place)
    if "://" in text and not text.startswith(SQLITE):
        return ""
    path = Path(text.removeprefix(SQLITE)).absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    with suppress(OSError):
        usage = shutil.disk_usage(path)
        if usage.total and usage.free < ROOM_BYTES:  # What the kernel makes up, such as /proc, has no size at all.
            return f"the disk that {path} lies on is full, {usage.free:,} bytes are free. Make room, and try it again."
    return ""
