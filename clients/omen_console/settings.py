from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from omen_rpc.address import AddressRefused, parse_address
from omen_rpc.settings import Program, ProgramSettings

PROGRAM = Program(
    name="omen-console",
    prefix="CONSOLE",
    summary="The web console: signals, ledger and reconciling in a browser.",
    table="console",
)


class ConsoleSettings(ProgramSettings):
    """
    What the console can be told.
    """

    listen: str = Field("127.0.0.1:8080", description="Address to serve pages on: HOST:PORT, [V6]:PORT or unix:PATH.")
    metrics_port: int = Field(9054, ge=0, le=65535, description="Port of /metrics, /livez and /readyz; 0 picks one.")
    base_path: str = Field("/", description="The path that a proxy serves it under, such as /omen/.")
    read_only: bool | None = Field(None, description="Show, and change nothing; so by default off loopback.")
    writable: bool | None = Field(None, description="Let whoever reaches it emit and reconcile; so on loopback.")
    omen: str = Field("127.0.0.1:50051", description="OMEN's address.")
    riskcast: str = Field("127.0.0.1:50052", description="RiskCast's address.")
    reconciler: str = Field("127.0.0.1:50053", description="The reconciler's address.")
    data_dir: Path = Field(Path(".omen"), description="OMEN's data directory, as the commands shown on pages name it.")
    hosts: str = Field("", description="Names that browsers may call it by besides its address, with commas.")
    call_timeout_s: float = Field(3.0, gt=0, le=60, description="How long a page waits for a server.")
    run_timeout_s: float = Field(600.0, gt=0, le=86_400, description="How long a reconcile run may take.")
    streams_max: int = Field(64, ge=1, le=10_000, description="Pages that may be live at once.")
    insecure: bool = Field(default=False, description="Serve without TLS on an address that is not loopback.")
    tls_cert: Path | None = Field(None, description="The console's certificate chain, PEM.")
    tls_key: Path | None = Field(None, description="The certificate's private key, PEM.")
    tls_ca: Path | None = Field(None, description="The CA that the servers' certificates must be of, PEM.")
    tls_client_cert: Path | None = Field(None, description="The certificate shown to them, PEM.")
    tls_client_key: Path | None = Field(None, description="That certificate's private key, PEM.")
    omen_api_key_file: Path | None = Field(None, description="A file with the key to show to OMEN.")
    riskcast_api_key_file: Path | None = Field(None, description="A file with the key to show to RiskCast.")
    reconciler_api_key_file: Path | None = Field(None, description="A file with the key to show to the reconciler.")

    @field_validator("base_path")
    @classmethod
    def _slashed(cls, value: str) -> str:
        parts = [part for part in value.split("/") if part]
        if any(part in {".", ".."} or not part.replace("-", "").replace("_", "").isalnum() for part in parts):
            raise ValueError("must be a path of letters, digits, - and _, such as /omen/")
        return "/".join(["", *parts, ""])

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.read_only is not None and self.writable is not None and self.read_only == self.writable:
            raise ValueError("--read-only and --writable exclude each other")
        return self

    @property
    def is_loopback(self) -> bool:
        """
        Whether only this machine can reach it.
        """
        try:
            return parse_address(self.listen).is_loopback
        except AddressRefused:
            return False

    @property
    def is_writable(self) -> bool:
        """
        Whether pages may change anything.
        """
        if self.writable is not None:
            return self.writable
        return self.is_loopback if self.read_only is None else not self.read_only
