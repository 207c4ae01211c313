"""
Ledgers of real signals: made by the engine itself, and served by the service over real gRPC.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import ledger_service_pb2
from omen.v1.ledger_service_pb2_grpc import LedgerServiceStub
from omen.v1.signal_pb2 import SIGNAL_CATEGORY_SECURITY, OmenSignal, SignalEvent
from omen_client import OmenClient
from omen_rpc.server import Server
from omen_rpc.signal_codec import PayloadKind
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.entry import Entry
from omen_server.ledger.format import HEADER_BYTES, read_frame
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.service import LedgerService, Settled
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS, entry_of
from omen_server.refusals import REFUSALS
from tests.hosting import channel_to, hosted

if TYPE_CHECKING:
    from omen.v1.ledger_service_pb2_grpc import LedgerServiceAsyncStub  # A type that exists in the stubs only.

LEDGER = ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]
DAY, LATE, NEXT = "2026-01-28", "2026-01-28-late", "2026-01-29"
NOON = datetime(2026, 1, 28, 12, tzinfo=UTC)
TOMORROW = datetime(2026, 1, 29, 6, 30, tzinfo=UTC)
RESPONSE_BYTES_MAX = 1 << 20


@dataclass(slots=True)
class Clock:
    """
    The time, as far as a ledger knows.
    """

    now: datetime = NOON

    def __call__(self) -> datetime:
        """
        Return the time.
        """
        return self.now


def signal_id(number: int) -> str:
    """
    Return the n-th signal's id.
    """
    return f"OMEN-TEST{number:06d}"


def event(number: int, emitted_at: datetime = NOON, description: str = "") -> SignalEvent:
    """
    Return the n-th signal.
    """
    at = Timestamp()
    at.FromDatetime(emitted_at)
    return SignalEvent(
        schema_version="1.0.0",
        signal_id=signal_id(number),
        source_event_id=f"evt-{number}",
        ruleset_version="1.0.0",
        emitted_at=at,
        signal=OmenSignal(
            signal_id=signal_id(number),
            title=f"Signal {number}",
            description=description,
            probability=0.0,
            category=SIGNAL_CATEGORY_SECURITY,
        ),
    )


def entries(
    numbers: Sequence[int], emitted_at: datetime = NOON, description: str = "", kind: PayloadKind = "json"
) -> list[Entry]:
    """
    Return signals as the ledger takes them.
    """
    return [entry_of(event(number, emitted_at, description), kind) for number in numbers]


@asynccontextmanager
async def opened(
    place: Path, clock: Callable[[], datetime] | None = None, disk: Disk | None = None, **limits: Any
) -> AsyncIterator[Ledger]:
    """
    Open a ledger of signals, with small limits where a test names none.
    """
    settings = LedgerSettings(**{"ballast_bytes": 4096, "resume_free_bytes": 0, **limits})
    async with open_ledger(place, SIGNALS, settings, clock or Clock(), disk) as ledger:
        yield ledger


@dataclass(slots=True)
class Served:
    """
    A ledger behind its service: the engine, the raw stub, the typed client.
    """

    ledger: Ledger
    server: Server
    stub: "LedgerServiceAsyncStub"
    client: OmenClient
    clock: Clock
    service: LedgerService


@asynccontextmanager
async def served(
    place: Path,
    clock: Clock | None = None,
    disk: Disk | None = None,
    settled: Settled | None = None,
    **limits: Any,
) -> AsyncIterator[Served]:
    """
    Serve the ledger in *place* on a loopback port while the block runs.
    """
    clock = clock or Clock()
    service = LedgerService()
    async with opened(place, clock, disk, **limits) as ledger:
        service.begin(ledger, settled)
        async with (
            hosted(service, service=LEDGER, translate=REFUSALS) as server,
            channel_to(str(server.address)) as channel,
            OmenClient(str(server.address)) as client,
        ):
            yield Served(ledger, server, LedgerServiceStub(channel), client, clock, service)
        await service.close()


def frames_of(path: Path) -> Iterator[tuple[int, int]]:
    """
    Yield where each frame of a segment starts and how long its payload is.
    """
    data, at = path.read_bytes(), 0
    while at < len(data):
        frame = read_frame(data, at)
        assert not isinstance(frame, str)
        yield at, len(frame.payload)
        at = frame.end


def flip(path: Path, at: int, bit: int = 0) -> None:
    """
    Turn one bit of a file over, also of one that is marked read-only.
    """
    mode = path.stat().st_mode
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)
    path.chmod(mode)


def payload_byte(path: Path, rank: int) -> int:
    """
    Return where the first letter of the title lies in a segment's n-th frame, from 0: turned over, JSON stays JSON.
    """
    start, length = list(frames_of(path))[rank]
    return path.read_bytes().index(b'"title":"', start, start + HEADER_BYTES + length) + len('"title":"')


async def everything(replies: AsyncIterable[Any]) -> list[Any]:
    """
    Return all that a stream yields.
    """
    return [reply async for reply in replies]
