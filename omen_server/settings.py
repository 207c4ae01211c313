from pathlib import Path
from typing import Literal

from pydantic import Field

from omen_rpc.settings import Program, ServerSettings

PROGRAM = Program(
    name="omen-server",
    prefix="OMEN",
    summary="OMEN: raw events in, durable signals out. Every signal is in the ledger before anybody hears of it.",
    table="omen",
)


class OmenSettings(ServerSettings):
    """
    What OMEN can be told.
    """

    data_dir: Path = Field(Path(".omen"), description="Where the ledger, the index and the dead letters lie.")
    riskcast: str = Field("127.0.0.1:50052", description="RiskCast's address.")
    index: str | None = Field(
        None,
        description="The signal index: sqlite:///PATH or postgresql://…; DATA_DIR/index.db by default.",
        json_schema_extra={"variables": ["DATABASE_URL"]},
    )
    ledger_payload: Literal["json", "protobuf"] = Field("json", description="How records are written.")
    poll: str = Field("", description="Sources to poll and how often, such as polymarket=60,nws=300.")
    tls_ca: Path | None = Field(None, description="The CA that RiskCast's certificate must be of, PEM.")
    tls_client_cert: Path | None = Field(None, description="The certificate shown to RiskCast, PEM.")
    tls_client_key: Path | None = Field(None, description="That certificate's private key, PEM.")
    riskcast_api_key_file: Path | None = Field(None, description="A file with the key to show to RiskCast.")
