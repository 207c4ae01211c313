"""
When certificates run out, for the metrics and for whoever starts a server that has not long to serve.
"""

import time
from collections.abc import Callable, Mapping
from math import nan
from pathlib import Path

import structlog
from cryptography import x509

from omen_rpc import metrics
from omen_rpc.certificate import CertificateUnreadable, Stamp, content, stamp

WARN_DAYS = 14
DAY_S = 86_400

log = structlog.get_logger()


class Expiry:
    """
    How long the certificates in a file are valid: the first of them to run out counts.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._stamp: Stamp | None = None
        self._ends_s = nan

    def seconds_left(self) -> float:
        """
        Return how long, less than 0 when it is over. The file is read again when it changes; one that cannot be read
        leaves the answer as it was, as it leaves the certificate in use.
        """
        try:
            seen = stamp([self._path])
            if seen != self._stamp:
                chain = x509.load_pem_x509_certificates(content(self._path))
                self._ends_s = min(each.not_valid_after_utc.timestamp() for each in chain)
                self._stamp = seen
        except (CertificateUnreadable, ValueError):
            pass
        return self._ends_s - self._now()


def watch(files: Mapping[str, Path]) -> None:
    """
    Let the metrics tell how long each certificate lasts, by what it is for, and warn of those that do not last long.
    """
    for kind, path in files.items():
        expiry = Expiry(path)
        metrics.TLS_CERTIFICATE_EXPIRY_SECONDS.labels(kind).set_function(expiry.seconds_left)
        days = expiry.seconds_left() / DAY_S
        if days < WARN_DAYS:
            log.warning("certificate_expires", kind=kind, file=str(path), days=round(days, 1))
