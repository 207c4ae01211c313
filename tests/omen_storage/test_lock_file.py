import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from omen_storage.lock_file import is_held, owned
from tests.omen_storage.names import Locked
from tests.processes import tree_environment

HOLDER = """
import sys
from pathlib import Path
from omen_storage.lock_file import owned
with owned(Path(sys.argv[1]), RuntimeError):
    print("owned", flush=True)
    sys.stdin.read()
"""


async def test_owner_is_named_until_it_dies(tmp_path: Path) -> None:
    """
    While a process owns a database another is refused with its pid; once it was killed, the next is let in.
    """
    path, pipe = tmp_path / "some.db", asyncio.subprocess.PIPE
    command = [sys.executable, "-c", HOLDER, str(path)]
    other = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=tree_environment())
    assert other.stdout is not None
    assert await other.stdout.readline() == b"owned\n"
    with pytest.raises(Locked) as refused, owned(path, Locked):
        pytest.fail("it was owned twice")
    assert (refused.value.path, refused.value.holder) == (path, other.pid)
    assert is_held(Path(f"{path}.lock"))
    other.kill()
    await other.communicate()
    assert not is_held(Path(f"{path}.lock"))
    with owned(path, Locked), pytest.raises(Locked) as refused, owned(path, Locked):
        pytest.fail("it was owned twice")
    assert refused.value.holder == os.getpid()


def test_directory_is_made_and_the_file_stays(tmp_path: Path) -> None:
    """
    Owning makes what directories are missing; the lock's file is private, and stays when the owner leaves.
    """
    path = tmp_path / "a" / "b" / "some.db"
    file = Path(f"{path}.lock")
    assert not is_held(file)
    with owned(path, Locked):
        assert is_held(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with owned(path, Locked):
        assert is_held(file)


def test_unreadable_pid_is_unknown(tmp_path: Path) -> None:
    """
    A holder that left no number in the file is refused for as well, as one unknown.
    """
    path = tmp_path / "some.db"
    with owned(path, Locked):
        Path(f"{path}.lock").write_text("who?")
        with pytest.raises(Locked) as refused, owned(path, Locked):
            pytest.fail("it was owned twice")
    assert refused.value.holder is None
