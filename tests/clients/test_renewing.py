"""
A caller follows its own files: certificates and keys are changed under it, and no call fails.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omen.v1.signal_service_pb2 import GetSignalRequest, GetSignalResponse
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_client import ClientFiles, Connection, ConnectionRefused, NotAllowed
from omen_rpc import renewing
from omen_rpc.channel import OwnKey
from tests.certificates import Authority
from tests.hosting import Scripted, hosted

OLD, NEW = "old-key-51Hx", "new-key-77Qy"


def put(files: dict[Path, Path]) -> None:
    """
    Put files in the places of others, as a renewing tool does it.
    """
    for source, target in files.items():
        os.replace(source, target)  # noqa: PTH105


class Caller:
    """
    Calls without a pause, and remembers what failed.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = SignalServiceStub(connection.calls)
        self.calls, self.failures = 0, list[Exception]()

    async def call(self) -> None:
        """
        Make one call.
        """
        try:
            await self._connection.call(self._stub.GetSignal, GetSignalRequest(signal_id="x"))
        except Exception as error:  # noqa: BLE001 - none may happen, whatever it is
            self.failures.append(error)
        self.calls += 1

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """
        Call in four tasks while the block runs.
        """

        async def forever() -> None:
            while True:
                await self.call()

        tasks = [asyncio.create_task(forever()) for _ in range(4)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_whole_authority_is_replaced_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Server and caller know each other by one CA; then every file of both is another CA's. Callers go over to a new
    connection, a call that is under way ends on the old one, and none fails. Half of the files changes nothing.
    """
    monkeypatch.setattr(renewing, "LOOK_INTERVAL_S", 0.0)
    one, two = Authority(tmp_path, "one"), Authority(tmp_path, "two")
    server_files, own = one.issue("server"), one.issue("caller")
    held, entered, peers = asyncio.Event(), asyncio.Event(), set[str]()

    async def get(request: Any, context: Any) -> GetSignalResponse:
        peers.add(context.peer())
        if request.signal_id == "held":
            entered.set()
            await held.wait()
        return GetSignalResponse()

    settings = {"tls_cert": server_files[0], "tls_key": server_files[1], "tls_client_ca": one.ca}
    async with hosted(Scripted(get=get), settings=settings) as server:
        files = ClientFiles(one.ca, *own)
        async with Connection(str(server.address), tls=files, attempts_max=1) as connection:
            caller = Caller(connection)
            slow = asyncio.create_task(
                connection.call(SignalServiceStub(connection.calls).GetSignal, GetSignalRequest(signal_id="held"))
            )
            await entered.wait()
            async with caller.calling():
                await reached(lambda: caller.calls > 20)
                fresh_server, fresh = two.issue("fresh-server"), two.issue("fresh-caller")
                put(dict(zip(fresh_server, server_files, strict=True)))
                put({fresh[1]: own[1]})  # Only the key: it does not belong to the certificate.
                calls = caller.calls
                await reached(lambda: caller.calls > calls + 20)
                assert len(peers) == 1
                put({two.ca: one.ca, fresh[0]: own[0]})
                await reached(lambda: len(peers) == 2)
                calls = caller.calls
                await reached(lambda: caller.calls > calls + 20)
            held.set()
            await slow
        assert caller.failures == []
        assert len(peers) == 2


async def test_a_key_is_rotated_under_load(tmp_path: Path) -> None:
    """
    The server's file gets the new key beside the old one, the caller's file the new one, the server's loses the old
    one: no call fails, however soon one follows the other. A key that is simply wrong fails at once.
    """
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    theirs.write_text(f"a:read:{OLD}\n")
    own.write_text(f"a:read:{OLD}\n")
    async with (
        hosted(Scripted(), settings={"api_keys_file": theirs}) as server,
        Connection(str(server.address), api_key=own, attempts_max=1) as connection,
    ):
        caller = Caller(connection)
        async with caller.calling():
            await reached(lambda: caller.calls > 20)
            own.write_text(f"a:read:{NEW}\n")
            theirs.write_text(f"b:read:{NEW}\n")
            server._gate._keys._next_check = 0.0  # Its own look is due within a second.
            calls = caller.calls
            await reached(lambda: caller.calls > calls + 40)
        assert caller.failures == []
        own.write_text("wrong")
        theirs.write_text(f"c:read:{OLD}\n")
        server._gate._keys._next_check = 0.0
        await caller.call()
        assert [type(error) for error in caller.failures] == [NotAllowed]


async def reached(condition: Callable[[], bool]) -> None:
    """
    Wait for something that calls bring about.
    """
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what calls do has no event
            await asyncio.sleep(0.001)


def test_the_file_is_looked_at_once_a_second(tmp_path: Path) -> None:
    """
    A key file is read again when it changed, not before a second is over; one that is gone leaves the key as it was.
    """
    file, now_s = tmp_path / "key", [0.0]
    file.write_text(OLD)
    own = OwnKey(file, now=lambda: now_s[0])
    file.write_text(NEW)
    assert own.metadata() == (("x-api-key", OLD),)
    now_s[0] = 1.5
    assert own.metadata() == (("x-api-key", NEW),)
    file.unlink()
    now_s[0] = 3.0
    assert own.metadata() == (("x-api-key", NEW),)
    fixed = OwnKey(OLD)
    assert not fixed.other_than(fixed.metadata())
    assert OwnKey("").metadata() == ()


async def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """
    A connection is not even tried with a certificate, key or CA that is missing, damaged, or another's.
    """
    authority = Authority(tmp_path)
    own, other = authority.issue("own"), authority.issue("other")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for files, named in (
        (ClientFiles(broken), "broken.pem"),
        (ClientFiles(tmp_path / "nothing"), "nothing: No such file"),
        (ClientFiles(authority.ca, own[0], other[1]), "mismatch"),
    ):
        with pytest.raises(ConnectionRefused, match=named):
            Connection("127.0.0.1:1", tls=files)
    with pytest.raises(ConnectionRefused, match="nothing: No such file"):
        Connection("127.0.0.1:1", api_key=tmp_path / "nothing")
