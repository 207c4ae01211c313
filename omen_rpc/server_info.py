"""
What a server says of itself: version, engine, libraries, and every setting with its source.
"""

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import google.protobuf
import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import server_info_service_pb2 as pb
from omen.v1 import server_info_service_pb2_grpc
from omen_rpc.metadata import new_request_id
from omen_rpc.settings import Setting

DISTRIBUTION = "omen-dualpath"


def own_version() -> str:
    """
    Return the version of the distribution.
    """
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # Run from a tree that was never installed.
        return "0+unknown"


class ServerInfo(server_info_service_pb2_grpc.ServerInfoServiceServicer):
    """
    Answers GetServerInfo. The parts that are known only later are attributes.
    """

    def __init__(self, service: str, settings: Sequence[Setting]) -> None:
        self._service = service
        self._settings = settings
        self._started_at = Timestamp()
        self._started_at.GetCurrentTime()
        self._instance_id = new_request_id()
        self.engine = ""
        self.services: Sequence[str] = ()
        self.paths: Mapping[str, str] = {}
        self.ledger_id = ""

    async def GetServerInfo(self, _request: pb.GetServerInfoRequest, _context: object) -> pb.GetServerInfoResponse:
        """
        Describe this process.
        """
        return pb.GetServerInfoResponse(
            service=self._service,
            version=own_version(),
            engine=self.engine,
            started_at=self._started_at,
            pid=os.getpid(),
            library_versions={
                "python": platform.python_version(),
                "grpcio": grpc.__version__,
                "protobuf": google.protobuf.__version__,
                "sqlite": sqlite3.sqlite_version,
                "os": f"{platform.system()} {platform.release()}",
            },
            paths=dict(self.paths),
            settings=[
                pb.Setting(name=each.name, value=each.value, source=each.source, set_by=each.set_by)
                for each in self._settings
            ],
            services=list(self.services),
            instance_id=self._instance_id,
            ledger_id=self.ledger_id,
        )
