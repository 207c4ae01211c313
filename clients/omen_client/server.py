from types import TracebackType
from typing import ClassVar, Self, Unpack

from omen.v1 import server_info_service_pb2 as pb
from omen.v1.server_info_service_pb2_grpc import ServerInfoServiceStub
from omen_rpc.channel import SERVER, Connection, ConnectionOptions


class ServerClient:
    """
    What every server can be asked. The clients of the three servers add what theirs does.

    Use it as a context manager, or close it: ``async with ServerClient("127.0.0.1:50051") as server: …``
    """

    # What errors call it.
    SERVER: ClassVar[str] = SERVER

    def __init__(self, address: str, *, server: str = "", **options: Unpack[ConnectionOptions]) -> None:
        self.connection = Connection(address, server=server or self.SERVER, **options)
        self._info = ServerInfoServiceStub(self.connection.calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """
        Close the connection.
        """
        await self.connection.close()

    async def info(self) -> pb.GetServerInfoResponse:
        """
        Return what the server is and how it is set.
        """
        return await self.connection.call(self._info.GetServerInfo, pb.GetServerInfoRequest())
