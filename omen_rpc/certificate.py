"""
Certificates as files: whether they changed, and whether they are whole.
"""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


class CertificateUnreadable(Exception):
    """
    A certificate or key that cannot be read; names the file.
    """


def check_pair(cert: Path | None, key: Path | None, ca: Path | None, kind: int = ssl.PROTOCOL_TLS_SERVER) -> None:
    """
    Raise CertificateUnreadable unless certificate and key are whole and belong together; grpc would not say a word.
    """
    context = ssl.SSLContext(kind)
    try:
        if cert is not None:
            context.load_cert_chain(cert, key, password="")
        if ca is not None:
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").replace("_", " ").lower()
        paths = ", ".join(str(path) for path in (cert, key, ca) if path is not None)
        raise CertificateUnreadable(f"{paths}: {reason}") from None
    except OSError:
        return  # `content` names the one that is not there.


def stamp(paths: Sequence[Path]) -> Stamp:
    """
    Return what changes when one of the files does.
    """
    try:
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in (path.stat() for path in paths))
    except OSError as error:
        raise CertificateUnreadable(f"{error.filename}: {error.strerror}") from None


def content(path: Path) -> bytes:
    """
    Return a file's bytes; CertificateUnreadable names the one that is not there.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateUnreadable(f"{path}: {error.strerror}") from None
