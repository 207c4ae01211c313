import os
import stat
from pathlib import Path

import pytest

from omen_storage.sqlite.database_file import files_of, make_private, path_in


def test_new_file_is_private_and_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A new file is for its owner alone from its first moment, and its name is synced once; one that is there stays.
    """
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    path = tmp_path / "some.db"
    make_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert synced == [tmp_path]
    path.write_bytes(b"kept")
    make_private(path)
    assert path.read_bytes() == b"kept"
    assert synced == [tmp_path]


def test_old_files_become_private(tmp_path: Path) -> None:
    """
    A database that others could once read is closed to them, with its log and the log's index.
    """
    files = files_of(tmp_path / "some.db")
    for file in files:
        file.touch(mode=0o644)
    make_private(files[0])
    assert [file.name for file in files] == ["some.db", "some.db-wal", "some.db-shm"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_urls_have_a_path() -> None:
    """
    What follows the third slash is the path; a URL without one is refused by its scheme, and no password is repeated.
    """
    assert path_in("sqlite:///some.db", ValueError) == Path("some.db")
    assert path_in("sqlite:////data/some.db", ValueError) == Path("/data/some.db")
    for url in ("sqlite:///", "sqlite:///:memory:", "sqlite:some.db", "mysql://root:secret@host/some"):
        with pytest.raises(ValueError, match=r"^(sqlite|mysql)$"):
            path_in(url, ValueError)
