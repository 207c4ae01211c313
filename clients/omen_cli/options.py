"""
What every verb that talks to a server takes: where the servers are, and how to be let in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omen_cli.output import Form
from omen_client.omen import OmenClient
from omen_client.reconcile import ReconcileClient
from omen_client.riskcast import RiskCastClient
from omen_rpc.channel import ClientFiles, Connection, read_key

OMEN = "127.0.0.1:50051"
RISKCAST = "127.0.0.1:50052"
RECONCILER = "127.0.0.1:50053"

Output = Annotated[Form, Parameter(name=["--output", "-o"], help="text, json or jsonl.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Servers:
    """
    Where the servers are, and how to be let in.
    """

    omen: Annotated[str, Parameter(env_var="OMEN_ADDRESS", help="OMEN's address.")] = OMEN
    riskcast: Annotated[str, Parameter(env_var="RISKCAST_ADDRESS", help="RiskCast's address.")] = RISKCAST
    reconciler: Annotated[str, Parameter(env_var="RECONCILER_ADDRESS", help="The reconciler's address.")] = RECONCILER
    api_key_file: Annotated[Path | None, Parameter(env_var="OMEN_API_KEY_FILE", help="A file with the key.")] = None
    tls_ca: Annotated[Path | None, Parameter(env_var="OMEN_TLS_CA", help="The CA to trust, PEM; turns TLS on.")] = None
    tls_client_cert: Annotated[Path | None, Parameter(env_var="OMEN_TLS_CLIENT_CERT", help="Own certificate.")] = None
    tls_client_key: Annotated[Path | None, Parameter(env_var="OMEN_TLS_CLIENT_KEY", help="Its private key.")] = None
    timeout_s: Annotated[float, Parameter(env_var="OMEN_TIMEOUT_S", help="How long a call may take.")] = 10.0

    def address(self, server: str) -> str:
        """
        Return the address of `omen`, `riskcast` or `reconciler`.
        """
        return {"omen": self.omen, "riskcast": self.riskcast, "reconciler": self.reconciler}[server]

    def connection(self, server: str, *, attempts_max: int = 5) -> Connection:
        """
        Return a connection to one of the servers.
        """
        return Connection(
            self.address(server),
            api_key=read_key(self.api_key_file),
            tls=self._files(),
            timeout_s=self.timeout_s,
            attempts_max=attempts_max,
        )

    def omen_client(self) -> OmenClient:
        """
        Return a client of OMEN.
        """
        key = read_key(self.api_key_file)
        return OmenClient(self.omen, api_key=key, tls=self._files(), timeout_s=self.timeout_s)

    def riskcast_client(self) -> RiskCastClient:
        """
        Return a client of RiskCast.
        """
        key = read_key(self.api_key_file)
        return RiskCastClient(self.riskcast, api_key=key, tls=self._files(), timeout_s=self.timeout_s)

    def reconcile_client(self) -> ReconcileClient:
        """
        Return a client of the reconciler.
        """
        key = read_key(self.api_key_file)
        return ReconcileClient(self.reconciler, api_key=key, tls=self._files(), timeout_s=self.timeout_s)

    def _files(self) -> ClientFiles | None:
        secure = self.tls_ca is not None or self.tls_client_cert is not None
        return ClientFiles(self.tls_ca, self.tls_client_cert, self.tls_client_key) if secure else None
