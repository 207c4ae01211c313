import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from omen.v1.signal_service_pb2 import GetSignalRequest, GetSignalResponse
from tests.hosting import Scripted, hosted, stub_of
from tests.omen_rpc.conftest import Logged
from tests.processes import running, started

WATCHDOG_USEC = 200_000


class Listening:
    """
    The service manager's end of a socket.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        self.socket.setblocking(False)

    async def told(self) -> list[str]:
        """
        Wait for one datagram and return its lines.
        """
        async with asyncio.timeout(20):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode().splitlines()

    def hears_a_beat_within(self, seconds: float) -> bool:
        """
        Block this thread, and with it its event loop, until a datagram comes or time is up; what came before is old.
        """
        with suppress(BlockingIOError):
            while self.socket.recv(4096):
                pass
        self.socket.settimeout(seconds)
        try:
            return bool(self.socket.recv(4096))
        except (TimeoutError, BlockingIOError):
            return False
        finally:
            self.socket.setblocking(False)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    """
    Listen as a service manager does, in a file or under a name without one.
    """
    end = Listening(str(tmp_path / "notify") if request.param == "path" else f"@omen-test-{tmp_path}")
    yield end
    end.socket.close()


async def test_a_server_tells_its_service_manager(manager: Listening, tmp_path: Path) -> None:
    """
    A real process under a manager: ready when it serves and not before, beats twice in the watchdog's time, says that
    it stops, and a frozen one says nothing.
    """
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": str(WATCHDOG_USEC)}
    async with running("riskcast-server", cwd=tmp_path, environment=environment) as server:
        assert await manager.told() == ["READY=1", f"STATUS=serving on {server.address}"]
        beats = [await manager.told() for _ in range(3)]
        assert beats == [["WATCHDOG=1"]] * 3
        server.process.send_signal(signal.SIGSTOP)
        frozen = not manager.hears_a_beat_within(2 * WATCHDOG_USEC / 1e6)
        server.process.send_signal(signal.SIGCONT)
        assert frozen
        assert await server.stop() == 0
        said = []
        while "STOPPING=1" not in said:
            said = await manager.told()


async def test_a_server_that_cannot_start_is_never_ready(manager: Listening, tmp_path: Path) -> None:
    """
    A server that refuses its settings says nothing to its manager: not ready, and no life to vouch for.
    """
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": str(WATCHDOG_USEC)}
    server = await started("riskcast-server", "--store=mysql://x", cwd=tmp_path, environment=environment)
    assert await server.wait() == 2
    assert not manager.hears_a_beat_within(0)


async def test_a_hung_event_loop_misses_the_watchdog(tmp_path: Path) -> None:
    """
    While a handler keeps the event loop from turning no beat comes, for five times as long as one is due; then again.
    """
    manager = Listening(str(tmp_path / "notify"))
    missed = []

    async def hang(_request: Any, _context: Any) -> GetSignalResponse:
        missed.append(not manager.hears_a_beat_within(2.5 * WATCHDOG_USEC / 1e6))
        return GetSignalResponse()

    settings = {"notify_socket": manager.name, "watchdog_usec": WATCHDOG_USEC}
    async with hosted(Scripted(get=hang), settings=settings) as server, stub_of(server) as stub:
        assert (await manager.told())[0] == "READY=1"
        assert await manager.told() == ["WATCHDOG=1"]
        await stub.GetSignal(GetSignalRequest(signal_id="OMEN-HANG00000001"))
        assert missed == [True]
        assert await manager.told() == ["WATCHDOG=1"]
    manager.socket.close()


async def test_what_a_watchdog_ends_says_where_it_hung(tmp_path: Path) -> None:
    """
    The signal by which a watchdog ends a server has it write where each of its threads stood.
    """
    async with running("riskcast-server", cwd=tmp_path) as server:
        assert await server.stop(signal.SIGABRT) == -signal.SIGABRT
        text = "".join(server.raw)
        assert "Fatal Python error: Aborted" in text
        assert 'riskcast_server/__main__.py", line' in text


async def test_a_manager_that_does_not_listen_stops_nobody(tmp_path: Path, logged: Logged) -> None:
    """
    A socket that nobody reads is told of in the log, and the server serves.
    """
    settings = {"notify_socket": str(tmp_path / "nobody"), "watchdog_usec": WATCHDOG_USEC}
    async with hosted(Scripted(), settings=settings) as server, stub_of(server) as stub:
        assert await stub.GetSignal(GetSignalRequest(signal_id="OMEN-HANG00000001")) == GetSignalResponse()
    assert "No such file" in logged.lines("not_told")[0]["text"]
