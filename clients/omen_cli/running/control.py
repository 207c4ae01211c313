"""
Telling a running `omen up` what to do: a Unix socket, one line of JSON each way.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from omen_cli import exits
from omen_cli.running.claim import is_held, read
from omen_cli.running.supervisor import Supervisor

SOCKET = "up.sock"
PATH_BYTES_MAX = 100  # The kernel takes 107, macOS 103.
LINE_BYTES_MAX = 4096
TIMEOUT_S = 60.0
# Whether a server that is started still gets anywhere is watched by the omen up it belongs to.
START_TIMEOUT_S = 86_400.0


@asynccontextmanager
async def controlled(servers: Supervisor, told: asyncio.Event) -> AsyncIterator[None]:
    """
    Do what others ask of *servers* while the block runs; *told* is set when one asks for the end.
    """
    path = place_for(servers.directory)

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the program ends while somebody waits, who learns it from the closed socket.
        with suppress(OSError, ValueError, asyncio.LimitOverrunError, asyncio.CancelledError):
            reply = await obey(servers, json.loads(await reader.readline()), told)
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(on_connection, sock=bound(path), limit=LINE_BYTES_MAX)
    try:
        servers.tell(control=str(path))
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def obey(servers: Supervisor, request: Any, told: asyncio.Event) -> dict[str, Any]:
    """
    Do one thing and return what came of it.
    """
    try:
        match request:
            case {"do": "down"}:
                told.set()
                return {"pid": os.getpid(), "names": servers.names}
            case {"do": "kill", "name": str(name)}:
                killed = await servers.kill(name)
                return {"name": name, "killed_pid": killed, "address": servers.address(name)}
            case {"do": "start", "name": str(name)}:
                await servers.let_up(name)
                return {"name": name, "pid": servers.pid(name), "address": servers.address(name)}
    except exits.Stopped as error:
        return refusal(error)
    return refusal(exits.Stopped(exits.USAGE, "USAGE", "this omen up knows no such order", "Update one of the two."))


def refusal(error: exits.Stopped) -> dict[str, Any]:
    """
    Return how a refusal is told to whoever asked.
    """
    return {"error": {"code": error.code, "reason": error.reason, "text": str(error), "remedy": error.remedy}}


async def ask(directory: Path, **request: Any) -> dict[str, Any]:
    """
    Have the `omen up` of *directory* do something and return its answer; Stopped when there is none, or it refuses.
    """
    path = read(directory).get("control", "")
    if not is_held(directory) or not path:
        text = f"no omen up runs in {directory}"
        remedy = "omen up starts one; --data-dir names another directory."
        raise exits.Stopped(exits.NOT_FOUND, "NOT_RUNNING", text, remedy)
    try:
        async with asyncio.timeout(START_TIMEOUT_S if request.get("do") == "start" else TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(json.dumps(request).encode() + b"\n")
            reply = json.loads(await reader.readline())
            writer.close()
    except (OSError, ValueError) as error:  # TimeoutError is an OSError.
        text = f"the omen up of {directory} does not answer: {str(error) or 'it takes too long'}"
        raise exits.Stopped(exits.UNREACHABLE, "NOT_ANSWERING", text, "Try again; if it persists, end it.") from None
    if "error" in reply:
        raise exits.Stopped(
            reply["error"]["code"], reply["error"]["reason"], reply["error"]["text"], reply["error"]["remedy"]
        )
    return dict(reply)


def place_for(directory: Path) -> Path:
    """
    Return where the socket lies: in the directory, or where its path would be too long for a socket, elsewhere.
    """
    path = directory.absolute() / SOCKET
    return path if len(os.fsencode(path)) <= PATH_BYTES_MAX else Path(mkdtemp(prefix="omen-up-")) / SOCKET


def bound(path: Path) -> socket.socket:
    """
    Return a socket at *path* that only this user can reach. One that is there is stale: we hold the directory.
    """
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    return made
