from pathlib import Path

from pydantic import Field

from omen_rpc.settings import Program, ServerSettings

PROGRAM = Program(
    name="omen-reconciler",
    prefix="RECONCILER",
    summary="The reconciler: finds what RiskCast is missing, brings it, and proves that nothing else differs.",
    table="reconciler",
)


class ReconcilerSettings(ServerSettings):
    """
    What the reconciler can be told.
    """

    listen: str = Field("127.0.0.1:50053", description="Address to serve on: HOST:PORT, [V6]:PORT or unix:PATH.")
    metrics_port: int = Field(9053, ge=0, le=65535, description="Port of /metrics, /livez and /readyz; 0 picks one.")
    omen: str = Field("127.0.0.1:50051", description="OMEN's address.")
    riskcast: str = Field("127.0.0.1:50052", description="RiskCast's address.")
    state: str = Field(
        "sqlite:///./.omen/reconcile.db",
        description="What it remembers: sqlite:///PATH, which one process opens at a time, or postgresql://…",
    )
    interval: float = Field(
        30.0, ge=0, le=86_400, description="Seconds from one round to the next; 0: only when told to."
    )
    since_days: int = Field(7, ge=1, le=36_500, description="How many days a round looks back; once a day all of them.")
    include_open: bool = Field(True, description="Main partitions too that are not sealed, up to the watermark.")
    replay_rate: float = Field(2000.0, gt=0, le=1_000_000, description="Signals replayed a second, at most.")
    replays_max: int = Field(100_000, ge=1, le=10_000_000, description="The most signals that one round replays.")
    round_s_max: float = Field(3600.0, gt=0, le=86_400, description="The longest that one round may take.")
    lease_s: float = Field(60.0, ge=3, le=3600, description="How long a reconciler that died keeps the others waiting.")
    tls_ca: Path | None = Field(None, description="The CA that the servers' certificates must be of, PEM.")
    tls_client_cert: Path | None = Field(None, description="The certificate shown to them, PEM.")
    tls_client_key: Path | None = Field(None, description="That certificate's private key, PEM.")
    omen_api_key_file: Path | None = Field(None, description="A file with the key to show to OMEN.")
    riskcast_api_key_file: Path | None = Field(None, description="A file with the key to show to RiskCast.")
