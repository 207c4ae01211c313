from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from omen_rpc.settings import Program, ServerSettings
from omen_server.desk.settings import DeskSettings
from omen_server.ledger.settings import LedgerSettings
from omen_server.push_settings import DeliveryLimits, EmitterLimits
from omen_server.stream.limits import Limits as StreamLimits

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
    riskcast: str = Field("127.0.0.1:50052", description="RiskCast's address; empty: nothing is pushed.")
    index: str | None = Field(
        None,
        description="The signal index: sqlite:///PATH or postgresql://…; DATA_DIR/index.db by default.",
        json_schema_extra={"variables": ["DATABASE_URL"]},
    )
    ledger_payload: Literal["json", "protobuf"] = Field("json", description="How records are written; both are read.")
    segment_bytes_max: int = Field(10_000_000, ge=1, le=1 << 30, description="Size at which a segment is rolled.")
    segment_records_max: int = Field(10_000, ge=1, le=1_000_000, description="Records at which a segment is rolled.")
    open_partitions_max: int = Field(64, ge=1, le=10_000, description="Days that may take records at once.")
    emitted_ahead_max_s: float = Field(300.0, ge=0, le=86_400, description="How far ahead emitted_at may lie.")
    seal_grace_hours: float = Field(
        4.0,
        ge=0,
        le=8760,
        description="Quiet time after which a day that is over is sealed.",
        json_schema_extra={"variables": ["SEAL_GRACE_PERIOD_HOURS"]},
    )
    late_seal_grace_days: float = Field(
        3.0,
        ge=0,
        le=365,
        description="Quiet time after which a late partition is sealed.",
        json_schema_extra={"variables": ["LATE_SEAL_GRACE_DAYS"]},
    )
    seal_interval_s: float = Field(60.0, gt=0, le=86_400, description="How often the server looks what to seal.")
    lifecycle_interval_s: float = Field(3600.0, gt=0, le=604_800, description="How often sealed partitions are aged.")
    hot_days: float = Field(7.0, ge=0, le=36_500, description="Age at which a sealed partition is compressed.")
    warm_days: float = Field(30.0, ge=0, le=36_500, description="Age at which it is moved to the archive.")
    retention_days: float = Field(
        2557.0, ge=1, le=36_500, description="Age past which a partition is deleted, if it is reconciled."
    )
    ledger_batch_records_max: int = Field(1024, ge=1, le=65_536, description="The most records that one sync covers.")
    ledger_batch_bytes_max: int = Field(1 << 20, ge=1, le=1 << 26, description="The most bytes that one sync covers.")
    ledger_queue_records_max: int = Field(16_384, ge=1, le=1 << 20, description="Records that may wait for the writer.")
    ledger_ballast_bytes: int = Field(
        16 << 20, ge=0, le=1 << 30, description="Space set aside so that seals can finish on a full disk."
    )
    ledger_resume_free_bytes: int = Field(
        64 << 20, ge=0, le=1 << 40, description="Free space at which a ledger that was full takes records again."
    )
    ledger_skip_records: int = Field(
        1024, ge=1, le=1 << 20, description="Positions passed over when damage reaches the end of what was written."
    )
    ledger_read_batch_records_max: int = Field(500, ge=1, le=10_000, description="Records a reader holds at once.")
    ledger_read_batch_bytes_max: int = Field(
        1 << 20, ge=1, le=1 << 26, description="Bytes after which a reader hands on what it holds."
    )
    disk_check_interval_s: float = Field(1.0, gt=0, le=3600, description="How often a full disk is looked at again.")
    dead_letters_max: int = Field(
        100_000, ge=1, le=10_000_000, description="Dead letters kept; no more are taken then."
    )
    rejected_max: int = Field(10_000, ge=1, le=1_000_000, description="Refused raw events kept, the newest.")
    rejected_bytes_max: int = Field(64 << 20, ge=1 << 20, le=1 << 32, description="Bytes of refused raw events kept.")
    series_max: int = Field(100_000, ge=1, le=10_000_000, description="Series of prices kept, those seen last.")
    peers_max: int = Field(
        5_000, ge=0, le=100_000, description="Raw events kept as witnesses for later ones, the newest."
    )
    peers_batch_max: int = Field(200, ge=0, le=10_000, description="The most of them that one batch is judged with.")
    desk_flush_interval_s: float = Field(
        0.5, ge=0.01, le=60, description="How long prices, witnesses and refused events wait to be written."
    )
    desk_waiting_max: int = Field(4096, ge=1, le=65_536, description="Writes of dead letters that may wait at once.")
    desk_busy_timeout_ms: int = Field(
        10_000, ge=1, le=600_000, description="How long the desk waits for a lock that somebody else holds on it."
    )
    push_batch_signals_max: int = Field(100, ge=1, le=500, description="The most signals in one call to RiskCast.")
    push_batch_bytes_max: int = Field(
        512 << 10, ge=1 << 10, le=1 << 20, description="The most bytes in one call to RiskCast."
    )
    push_calls_max: int = Field(4, ge=1, le=64, description="Calls to RiskCast in flight at once.")
    push_queue_signals_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Signals that may wait for RiskCast; the oldest go to reconciling.",
    )
    push_attempts_max: int = Field(5, ge=1, le=20, description="Attempts of one call to RiskCast.")
    push_pause_first_s: float = Field(0.1, gt=0, le=60, description="The pause after the first attempt; it doubles.")
    push_pause_max_s: float = Field(10.0, gt=0, le=600, description="The longest pause between two attempts.")
    push_timeout_s: float = Field(30.0, gt=0, le=600, description="How long one attempt may take.")
    breaker_failures_max: int = Field(5, ge=1, le=1000, description="Failed calls in a row that open the breaker.")
    breaker_open_s: float = Field(30.0, gt=0, le=3600, description="How long an open breaker lets no call through.")
    subscribers_ring_signals_max: int = Field(
        8192, ge=100, le=1_000_000, description="Newest signals kept in memory for subscribers."
    )
    subscribers_ring_bytes_max: int = Field(
        32 << 20, ge=1 << 20, le=1 << 32, description="Bytes of them kept in memory for subscribers."
    )
    poll_contact: str = Field(
        "", description="An address or URL that sources may write to; needed with --poll, some refuse without."
    )
    poll: str = Field("", description="Sources to poll and how often, such as polymarket=60,nws=300.")
    tls_ca: Path | None = Field(None, description="The CA that RiskCast's certificate must be of, PEM.")
    tls_client_cert: Path | None = Field(None, description="The certificate shown to RiskCast, PEM.")
    tls_client_key: Path | None = Field(None, description="That certificate's private key, PEM.")
    riskcast_api_key_file: Path | None = Field(None, description="A file with the key to show to RiskCast.")

    @property
    def ledger_dir(self) -> Path:
        """
        Where the ledger lies.
        """
        return self.data_dir / "ledger"

    @property
    def desk_path(self) -> Path:
        """
        Where dead letters, refused events, prices and witnesses lie.
        """
        return self.data_dir / "desk.db"

    @property
    def desk(self) -> DeskSettings:
        """
        The desk's own limits.
        """
        return DeskSettings(
            dead_letters_max=self.dead_letters_max,
            rejected_max=self.rejected_max,
            rejected_bytes_max=self.rejected_bytes_max,
            series_max=self.series_max,
            peers_max=self.peers_max,
            peers_batch_max=self.peers_batch_max,
            flush_interval_s=self.desk_flush_interval_s,
            waiting_max=self.desk_waiting_max,
            busy_timeout_ms=self.desk_busy_timeout_ms,
        )

    @property
    def index_url(self) -> str:
        """
        Where the index lies.
        """
        return self.index or f"sqlite:///{self.data_dir.absolute()}/index.db"

    @property
    def index_shown(self) -> str:
        """
        Where the index lies, without the password that may be in its URL.
        """
        parts = urlsplit(self.index_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def stream(self) -> StreamLimits:
        """
        What subscribers share.
        """
        return StreamLimits(
            ring_records_max=self.subscribers_ring_signals_max, ring_bytes_max=self.subscribers_ring_bytes_max
        )

    @property
    def emitter(self) -> EmitterLimits:
        """
        The hot path's own limits.
        """
        return EmitterLimits(
            batch_signals_max=self.push_batch_signals_max,
            batch_bytes_max=self.push_batch_bytes_max,
            calls_max=self.push_calls_max,
            queue_signals_max=self.push_queue_signals_max,
            delivery=DeliveryLimits(
                attempts_max=self.push_attempts_max,
                pause_first_s=self.push_pause_first_s,
                pause_max_s=self.push_pause_max_s,
                timeout_s=self.push_timeout_s,
            ),
        )

    @property
    def ledger(self) -> LedgerSettings:
        """
        The ledger's own limits.
        """
        return LedgerSettings(
            segment_bytes_max=self.segment_bytes_max,
            segment_records_max=self.segment_records_max,
            batch_records_max=self.ledger_batch_records_max,
            batch_bytes_max=self.ledger_batch_bytes_max,
            queue_records_max=self.ledger_queue_records_max,
            open_partitions_max=self.open_partitions_max,
            emitted_ahead_max_s=self.emitted_ahead_max_s,
            seal_grace_hours=self.seal_grace_hours,
            late_seal_grace_days=self.late_seal_grace_days,
            ballast_bytes=self.ledger_ballast_bytes,
            resume_free_bytes=self.ledger_resume_free_bytes,
            skip_records=self.ledger_skip_records,
            read_batch_records_max=self.ledger_read_batch_records_max,
            read_batch_bytes_max=self.ledger_read_batch_bytes_max,
            hot_days=self.hot_days,
            warm_days=self.warm_days,
            retention_days=self.retention_days,
        )

    @model_validator(mode="after")
    def _check_tiers(self) -> Self:
        if not self.hot_days <= self.warm_days <= self.retention_days:
            raise ValueError("hot_days, warm_days and retention_days must not fall")
        return self
