"""
A RiskCast that keeps nothing: what a call costs that carries a signal through the same gate and does nothing with it.
"""

import sys

from omen_rpc.program import start
from omen_rpc.server import Server
from omen_rpc.settings import Loaded, Program
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from riskcast_server.settings import RiskCastSettings

PROGRAM = Program(name="bench-echo", prefix="RISKCAST", summary="Answers every Ingest at once.", table="riskcast")


class Echo(IngestServiceServicer):
    """
    Answers Ingest, and has nothing else.
    """

    async def Ingest(self, request: pb.IngestRequest, _context: object) -> pb.IngestResponse:
        """
        Answer as RiskCast does, with the id that came.
        """
        reply = pb.IngestResponse(ack_id=request.signal.signal_id)
        reply.processed_at.GetCurrentTime()
        return reply


async def run(loaded: Loaded[RiskCastSettings]) -> None:
    """
    Serve until told to stop.
    """
    server = Server(PROGRAM.name, loaded, {pb.DESCRIPTOR.services_by_name["IngestService"]: Echo()})
    try:
        await server.open()
        await server.run(engine="none")
    finally:
        await server.close()


if __name__ == "__main__":
    sys.exit(start(PROGRAM, RiskCastSettings, run))
