from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from omen.v1 import server_info_service_pb2 as pb
from omen.v1.server_info_service_pb2_grpc import ServerInfoServiceStub
from omen_rpc.channel import ATTEMPTS_MAX, SERVER, TIMEOUT_S, ClientFiles, Connection


class ServerClient:
    """
    What every server can be asked. The clients of the three servers add what theirs does.

    Use it as a context manager, or close it: ``async with ServerClient("127.0.0.1:50051") as server: …``
    """

    # What errors call it.
    SERVER: ClassVar[str] = SERVER

    def __init__(
        self,
        address: str,
        *,
        api_key: str | Path = "",
        tls: ClientFiles | None = None,
        timeout_s: float = TIMEOUT_S,
        attempts_max: int = ATTEMPTS_MAX,
        server: str = "",
    ) -> None:
        self.connection = Connection(
            address,
            api_key=api_key,
            tls=tls,
            timeout_s=timeout_s,
            attempts_max=attempts_max,
            server=server or self.SERVER,
        )
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
