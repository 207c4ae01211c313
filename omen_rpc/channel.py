"""
The calling end of every call: channels, deadlines, retries, and errors with their reasons.

UNAVAILABLE is retried inside the channel, which honours a server's pushback and stops when most calls fail. A call that
a limit refused is retried here, after the time the server names, because the channel would retry the ones that name no
time as well. Everything is safe to send twice: the contract is idempotent throughout.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from omen_rpc import tracing
from omen_rpc.errors import CallError, Exhausted
from omen_rpc.metadata import API_KEY, REQUEST_ID, TRACE_PARENT, new_request_id
from omen_rpc.status import from_rpc_error

Reply = TypeVar("Reply", bound=Message)
Metadata: TypeAlias = Sequence[tuple[str, str]]

ATTEMPTS_MAX = 5  # gRPC caps its own attempts at this as well.
TIMEOUT_S = 30.0
MESSAGE_BYTES_MAX = 4 << 20
RECONNECT_MAX_MS = 5_000


class ConnectionRefused(Exception):
    """
    A connection that cannot even be tried: a key or certificate file that cannot be read.
    """


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """
    Where a caller's certificates lie: the CA it trusts, and its own certificate when the server wants one.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Connection:
    """
    One server, as a caller holds it.

    Calls and subscriptions have a channel each: a stalled subscription then holds back nobody's calls, and its small
    window keeps what it makes the server buffer at 64 KB.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str = "",
        tls: ClientFiles | None = None,
        timeout_s: float = TIMEOUT_S,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._attempts_max = attempts_max
        self._key: tuple[tuple[str, str], ...] = ((API_KEY, api_key),) if api_key else ()
        self._credentials = channel_credentials(tls) if tls is not None else None
        self.calls = self._channel([("grpc.service_config", service_config(attempts_max))])
        self.subscriptions = self._channel(
            [
                ("grpc.enable_retries", 0),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.http2.bdp_probe", 0),
                # A subscription comes back by itself, so a server's restart must not cost it two minutes.
                ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
            ]
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """
        Close both channels; what is in flight is cancelled.
        """
        await self.calls.close()
        await self.subscriptions.close()

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Any, Reply]",
        request: Message,
        *,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> Reply:
        """
        Call *method* and return its reply; CallError when it failed for good or the time is up.

        The time covers every attempt. All attempts go under one request id.
        """
        ends = monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        sent = self._metadata(metadata)
        for attempt in range(1, self._attempts_max + 1):
            try:
                reply: Reply = await method(request, timeout=max(0.0, ends - monotonic()), metadata=sent)
            except grpc.aio.AioRpcError as raised:
                error = from_rpc_error(raised)
                wait_s = pause_s(error)
                if wait_s is None or attempt == self._attempts_max or monotonic() + wait_s >= ends:
                    raise error from None
                await asyncio.sleep(wait_s)
            else:
                return reply
        raise AssertionError("the last attempt returns or raises")

    async def stream(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[Any, Reply]",
        request: Message,
        *,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncGenerator[Reply, None]:
        """
        Call *method* and yield its replies; CallError when the stream ends in one. Leaving the loop cancels the call.
        """
        call = method(request, timeout=timeout_s, metadata=self._metadata(metadata))
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as raised:
            raise from_rpc_error(raised) from None
        finally:
            call.cancel()

    def _metadata(self, given: Metadata) -> tuple[tuple[str, str], ...]:
        named = any(key == REQUEST_ID for key, _ in given)
        own = () if named else ((REQUEST_ID, new_request_id()),)
        if tracing.ACTIVE is not None and (trace_parent := tracing.here()):
            own = (*own, (TRACE_PARENT, trace_parent))
        return (*self._key, *given, *own)

    def _channel(self, own: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
        options = [
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # Left alone it grows to two minutes, for which a server that is back would still be called unavailable.
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            *own,
        ]
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        return grpc.aio.secure_channel(self.address, self._credentials, options=options)


def pause_s(error: CallError) -> float | None:
    """
    Return how long to wait before sending again; None when it would be no use, or the channel has done it already.
    """
    return error.retry_after_s if isinstance(error, Exhausted) else None


def service_config(attempts_max: int) -> str:
    """
    Return the channel's own retries: UNAVAILABLE, and what a stopping server cancels; fewer as more calls fail.
    """
    policy = {
        "maxAttempts": attempts_max,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config: dict[str, Any] = {"retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}}
    if attempts_max > 1:
        config["methodConfig"] = [{"name": [{}], "retryPolicy": policy}]
    return json.dumps(config)


def channel_credentials(files: ClientFiles) -> grpc.ChannelCredentials:
    """
    Return a caller's credentials; without a CA the system's are trusted.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=content(files.ca), private_key=content(files.key), certificate_chain=content(files.cert)
    )


def read_key(path: Path | None) -> str:
    """
    Return the API key in a file, without the name and scopes that a server's list has beside it.
    """
    raw = content(path)
    lines = [line.strip() for line in (raw or b"").decode(errors="replace").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    return keys[0].rpartition(":")[2] if keys else ""


def content(path: Path | None) -> bytes | None:
    """
    Return a file's bytes; ConnectionRefused names the one that cannot be read.
    """
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConnectionRefused(f"{path}: {error.strerror}") from None
