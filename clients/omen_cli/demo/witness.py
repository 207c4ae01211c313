"""
A RiskCast that looks into OMEN's ledger at the moment it is called.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.segment import Record
from omen_server.records import SIGNALS
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server


class Witness(IngestServiceServicer):
    """
    Acknowledges what it is sent, and remembers whether the ledger's files had it by then.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self.calls = 0
        self.written_first: list[str] = []
        self.pushed_first: list[str] = []

    async def IngestBatch(self, request: pb.IngestBatchRequest, _context: Any) -> pb.IngestBatchResponse:
        """
        Look, then answer.
        """
        self.calls += 1
        kept = self._kept()
        reply = pb.IngestBatchResponse()
        for item in request.items:
            name = item.signal.signal_id
            (self.written_first if name in kept else self.pushed_first).append(name)
            accepted = reply.results.add().accepted
            accepted.ack_id = f"witness-ack-{name}"
            accepted.processed_at.GetCurrentTime()
        return reply

    def _kept(self) -> set[str]:
        ledger = OfflineLedger(self._ledger, SIGNALS)
        return {
            SIGNALS.signal_id(each.payload)
            for name in ledger.names()
            for each in ledger.read_partition(name)
            if isinstance(each, Record)
        }


@asynccontextmanager
async def witnessing(ledger: Path) -> AsyncIterator[tuple[Witness, str]]:
    """
    Serve a witness on loopback while the block runs; yield it with its address.
    """
    witness = Witness(ledger)
    server = grpc.aio.server()
    add_IngestServiceServicer_to_server(witness, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield witness, f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=1)
