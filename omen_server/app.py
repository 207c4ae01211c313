from omen.v1 import ledger_service_pb2, operations_service_pb2, signal_service_pb2
from omen.v1.ledger_service_pb2_grpc import LedgerServiceServicer
from omen.v1.operations_service_pb2_grpc import OperationsServiceServicer
from omen.v1.signal_service_pb2_grpc import SignalServiceServicer
from omen_rpc.server import Server
from omen_rpc.settings import Loaded
from omen_server.settings import PROGRAM, OmenSettings

SIGNALS = signal_service_pb2.DESCRIPTOR.services_by_name["SignalService"]
LEDGER = ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]
OPERATIONS = operations_service_pb2.DESCRIPTOR.services_by_name["OperationsService"]


async def run(loaded: Loaded[OmenSettings]) -> None:
    """
    Serve OMEN until told to stop. The order of this list is the order of starting; draining is its reverse.
    """
    server = Server(
        PROGRAM.name,
        loaded,
        {SIGNALS: SignalServiceServicer(), LEDGER: LedgerServiceServicer(), OPERATIONS: OperationsServiceServicer()},
    )
    try:
        await server.open()
        await server.run(engine="none")
    finally:
        await server.close()
