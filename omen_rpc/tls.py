"""
A server's certificate, read again when its files change, so that renewing it needs no restart.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from omen_rpc.certificate import CertificateUnreadable, check_pair, content, stamp

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """
    Where a server's certificate lies; with a client CA, callers must show a certificate of that CA.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None

    def paths(self) -> list[Path]:
        """
        Return the files that are there to be watched.
        """
        return [path for path in (self.cert, self.key, self.client_ca) if path is not None]


class Reloading:
    """
    A server's certificate as grpc asks for it: before every handshake, from a thread of its own.
    """

    def __init__(self, files: ServerFiles) -> None:
        self._files = files
        self._stamp = stamp(files.paths())
        self.configuration = read(files)

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """
        Return the new certificate when the files changed; None keeps the old one, also when the new cannot be read.
        """
        try:
            seen = stamp(self._files.paths())
            if seen == self._stamp:
                return None
            self.configuration = read(self._files)
        except CertificateUnreadable as error:
            log.warning("certificate_unreadable", error=str(error))
            return None
        self._stamp = seen
        log.info("certificate_read", file=str(self._files.cert))
        return self.configuration


def server_credentials(files: ServerFiles) -> grpc.ServerCredentials:
    """
    Return credentials that follow the files. CertificateUnreadable when one is not there.
    """
    reloading = Reloading(files)
    return grpc.dynamic_ssl_server_credentials(
        reloading.configuration,
        reloading,  # type: ignore[arg-type]  # the types forget that None means unchanged
        require_client_authentication=files.client_ca is not None,
    )


def read(files: ServerFiles) -> grpc.ServerCertificateConfiguration:
    """
    Read the certificate as it is now.
    """
    check_pair(files.cert, files.key, files.client_ca)
    return grpc.ssl_server_certificate_configuration(
        [(content(files.key), content(files.cert))],
        root_certificates=content(files.client_ca) if files.client_ca else None,
    )
