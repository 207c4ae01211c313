from pydantic import Field

from omen_rpc.settings import Program, ServerSettings

PROGRAM = Program(
    name="riskcast-server",
    prefix="RISKCAST",
    summary="RiskCast: each signal stored once, every duplicate told its first ack.",
    table="riskcast",
)


class RiskCastSettings(ServerSettings):
    """
    What RiskCast can be told.
    """

    listen: str = Field("127.0.0.1:50052", description="Address to serve on: HOST:PORT, [V6]:PORT or unix:PATH.")
    metrics_port: int = Field(9052, ge=0, le=65535, description="Port of /metrics, /livez and /readyz; 0 picks one.")
    store: str = Field(
        "sqlite:///./.omen/riskcast.db",
        description="Where signals are kept: sqlite:///PATH or postgresql://….",
        json_schema_extra={"variables": ["RISKCAST_DB_PATH"]},
    )
    disk_check_interval_s: float = Field(
        5.0, gt=0, le=3600, description="How often the store is asked whether it can write."
    )
