"""
What every verb that talks to a server takes: where the servers are, and how to be let in.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.contexts import PLACE, ContextsFile, read
from omen_cli.output import Form
from omen_client.omen import OmenClient
from omen_client.reconcile import ReconcileClient
from omen_client.riskcast import RiskCastClient
from omen_client.server import ServerClient
from omen_rpc.channel import ClientFiles, Connection

OMEN = "127.0.0.1:50051"
RISKCAST = "127.0.0.1:50052"
RECONCILER = "127.0.0.1:50053"
TIMEOUT_S = 10.0
TIMEOUT_S_MAX = 86_400.0
CLIENTS: dict[str, type[ServerClient]] = {"omen": OmenClient, "riskcast": RiskCastClient, "reconciler": ReconcileClient}

Output = Annotated[Form, Parameter(name=["--output", "-o"], help="text, json or jsonl.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Servers:
    """
    Where the servers are, and how to be let in: what is not given comes from the context, else from the defaults.
    """

    context: Annotated[
        str, Parameter(env_var="OMEN_CONTEXT", show_default=False, help="A set of all this; see omen context.")
    ] = ""
    contexts_file: ContextsFile = PLACE
    omen: Annotated[str, Parameter(env_var="OMEN_ADDRESS", show_default=False, help=f"OMEN's address; {OMEN}.")] = ""
    riskcast: Annotated[
        str, Parameter(env_var="RISKCAST_ADDRESS", show_default=False, help=f"RiskCast's address; {RISKCAST}.")
    ] = ""
    reconciler: Annotated[
        str, Parameter(env_var="RECONCILER_ADDRESS", show_default=False, help=f"The reconciler's; {RECONCILER}.")
    ] = ""
    api_key_file: Annotated[Path | None, Parameter(env_var="OMEN_API_KEY_FILE", help="A file with the key.")] = None
    tls_ca: Annotated[Path | None, Parameter(env_var="OMEN_TLS_CA", help="The CA to trust, PEM; turns TLS on.")] = None
    tls_client_cert: Annotated[Path | None, Parameter(env_var="OMEN_TLS_CLIENT_CERT", help="Own certificate.")] = None
    tls_client_key: Annotated[Path | None, Parameter(env_var="OMEN_TLS_CLIENT_KEY", help="Its private key.")] = None
    timeout_s: Annotated[
        float, Parameter(env_var="OMEN_TIMEOUT_S", show_default=False, help="How long a call may take; 10.")
    ] = 0.0
    api_key: Annotated[str, Parameter(parse=False)] = field(default="", repr=False)

    def __post_init__(self) -> None:
        known = read(self.contexts_file)
        chosen = known.find(self.context)
        own = {
            "context": known.current,
            "omen": chosen.omen or OMEN,
            "riskcast": chosen.riskcast or RISKCAST,
            "reconciler": chosen.reconciler or RECONCILER,
            # A key that is named on the line is meant instead of the context's.
            "api_key": chosen.api_key if self.api_key_file is None else "",
            "api_key_file": path_of(chosen.api_key_file),
            "tls_ca": path_of(chosen.tls_ca),
            "tls_client_cert": path_of(chosen.tls_client_cert),
            "tls_client_key": path_of(chosen.tls_client_key),
            "timeout_s": chosen.timeout_s or TIMEOUT_S,
        }
        if not 0 <= self.timeout_s < TIMEOUT_S_MAX:
            text = f"--timeout-s {self.timeout_s:g} is no time that a call may take"
            raise exits.Stopped(exits.USAGE, "USAGE", text, "Give seconds, up to a day.")
        for name, value in own.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)

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
            api_key=self.key(),
            tls=self.files(),
            timeout_s=self.timeout_s,
            attempts_max=attempts_max,
            server=CLIENTS[server].SERVER,
        )

    def omen_client(self) -> OmenClient:
        """
        Return a client of OMEN.
        """
        return OmenClient(self.omen, api_key=self.key(), tls=self.files(), timeout_s=self.timeout_s)

    def riskcast_client(self, *, attempts_max: int = 5) -> RiskCastClient:
        """
        Return a client of RiskCast.
        """
        return RiskCastClient(
            self.riskcast, api_key=self.key(), tls=self.files(), timeout_s=self.timeout_s, attempts_max=attempts_max
        )

    def reconcile_client(self) -> ReconcileClient:
        """
        Return a client of the reconciler.
        """
        return ReconcileClient(self.reconciler, api_key=self.key(), tls=self.files(), timeout_s=self.timeout_s)

    def key(self) -> str | Path:
        """
        Return the API key, or the file it lies in, which may change meanwhile; empty when there is none.
        """
        return self.api_key or self.api_key_file or ""

    def files(self) -> ClientFiles | None:
        """
        Return the files of TLS; None without TLS.
        """
        secure = self.tls_ca is not None or self.tls_client_cert is not None
        return ClientFiles(self.tls_ca, self.tls_client_cert, self.tls_client_key) if secure else None


def path_of(text: str) -> Path | None:
    """
    Return a context's path; None for none.
    """
    return Path(text) if text else None
