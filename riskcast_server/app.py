from omen_rpc.server import Server
from omen_rpc.settings import Loaded
from riskcast.v1 import ingest_service_pb2, inventory_service_pb2
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from riskcast.v1.inventory_service_pb2_grpc import InventoryServiceServicer
from riskcast_server.settings import PROGRAM, RiskCastSettings

INGEST = ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"]
INVENTORY = inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"]


async def run(loaded: Loaded[RiskCastSettings]) -> None:
    """
    Serve RiskCast until told to stop. The order of this list is the order of starting; draining is its reverse.
    """
    server = Server(PROGRAM.name, loaded, {INGEST: IngestServiceServicer(), INVENTORY: InventoryServiceServicer()})
    try:
        await server.open()
        await server.run(engine="none")
    finally:
        await server.close()
