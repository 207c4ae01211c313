"""
The calling end of every call: channels, deadlines, retries, and errors with their reasons.

UNAVAILABLE is retried inside the channel, which honours a server's pushback and stops when most calls fail. A call that
a limit refused is retried here, after the time the server names, because the channel would retry the ones that name no
time as well. Everything is safe to send twice: the contract is idempotent throughout.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeAlias, TypedDict, TypeVar, cast

import grpc
from google.protobuf.message import Message

from omen_rpc import tracing
from omen_rpc.certificate import CertificateUnreadable, Stamp, check_pair, content, stamp
from omen_rpc.errors import CallError, DeadlineExceeded, Exhausted, Reason, Unreachable, fault
from omen_rpc.metadata import API_KEY, REQUEST_ID, TRACE_PARENT, new_request_id
from omen_rpc.renewing import LOOK_INTERVAL_S, Renewing
from omen_rpc.status import from_rpc_error

Reply = TypeVar("Reply", bound=Message)
Metadata: TypeAlias = Sequence[tuple[str, str]]

ATTEMPTS_MAX = 5  # gRPC caps its own attempts at this as well.
TIMEOUT_S = 30.0
MESSAGE_BYTES_MAX = 4 << 20
HANDSHAKE = "Tls handshake failed"  # gRPC's words, as are the next two.
UNCONNECTED, CLOSED = "failed to connect to all addresses", "Socket closed"
RECONNECT_MAX_MS = 5_000
SERVER = "The server"
# gRPC refuses those before any code of a server runs, so that no server can say it better.
TOO_LARGE = re.compile(r"larger than max \((\d+) vs\. (\d+)\)")


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

    def paths(self) -> list[Path]:
        """
        Return the files that are there to be watched.
        """
        return [path for path in (self.ca, self.cert, self.key) if path is not None]


class OwnKey:
    """
    The key a caller shows: the key itself, or the file it lies in, which is read again when it changes.
    """

    def __init__(self, key: str | Path, *, now: Callable[[], float] = monotonic) -> None:
        self._file = key if isinstance(key, Path) else None
        self._now = now
        self._stamp: Stamp | None = None
        self._looked_s = now()
        self._text = key if isinstance(key, str) else ""
        if self._file is not None:
            self._text = read_key(self._file)
            with suppress(CertificateUnreadable):
                self._stamp = stamp([self._file])

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """
        Return the key as a call carries it.
        """
        if self._file is not None and self._now() - self._looked_s >= LOOK_INTERVAL_S:
            self.look()
        return ((API_KEY, self._text),) if self._text else ()

    def other_than(self, shown: tuple[tuple[str, str], ...]) -> bool:
        """
        Look at the file, and tell whether the key in it is another than a call has shown.
        """
        self.look()
        return self.metadata() != shown

    def look(self) -> None:
        """
        Read the file if it changed. One that cannot be read changes nothing.
        """
        self._looked_s = self._now()
        if self._file is None:
            return
        with suppress(CertificateUnreadable, ConnectionRefused):
            seen = stamp([self._file])
            if seen != self._stamp:
                self._text, self._stamp = read_key(self._file), seen


class ConnectionOptions(TypedDict, total=False):
    """
    What a caller may say of its connection beside the address; `Connection` has the defaults.
    """

    api_key: str | Path
    tls: ClientFiles | None
    timeout_s: float
    attempts_max: int


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
        api_key: str | Path = "",
        tls: ClientFiles | None = None,
        timeout_s: float = TIMEOUT_S,
        attempts_max: int = ATTEMPTS_MAX,
        server: str = SERVER,
    ) -> None:
        self.address = address
        self._server = server
        self._timeout_s = timeout_s
        self._attempts_max = attempts_max
        self._key = OwnKey(api_key)
        self._tls = tls
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
        allowed_s = self._timeout_s if timeout_s is None else timeout_s
        ends = monotonic() + allowed_s
        named = self._named(metadata)
        attempt = 1
        while True:
            key = self._key.metadata()
            try:
                reply: Reply = await method(request, timeout=max(0.0, ends - monotonic()), metadata=(*key, *named))
            except grpc.aio.AioRpcError as raised:
                error = self._told(raised, allowed_s, self.calls)
                if error.code is grpc.StatusCode.UNAUTHENTICATED and self._key.other_than(key):
                    continue  # The key was rotated, and the server was the first to see it.
                wait_s = pause_s(error)
                if wait_s is None or attempt == self._attempts_max or monotonic() + wait_s >= ends:
                    raise error from None
                attempt += 1
                await asyncio.sleep(wait_s)
            else:
                return reply

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
        call = method(request, timeout=timeout_s, metadata=(*self._key.metadata(), *self._named(metadata)))
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as raised:
            raise self._told(raised, timeout_s, self.subscriptions) from None
        finally:
            call.cancel()

    def _told(self, raised: grpc.aio.AioRpcError, allowed_s: float | None, channel: grpc.aio.Channel) -> CallError:
        """
        Return the error the server sent. One without a reason is gRPC's own, in words made for its developers.
        """
        error = from_rpc_error(raised)
        if error.reason:
            return error
        where = f"{self._server} at {self.address}"
        match error.code:
            case grpc.StatusCode.UNAVAILABLE:
                why, tls = cause(error.message), self._tls_trouble(error.message)
                return Unreachable(self._server, self.address, why, retry_after_s=error.retry_after_s, tls=tls)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return self._late("in time" if allowed_s is None else f"within {allowed_s:g} s", channel)
            case grpc.StatusCode.RESOURCE_EXHAUSTED if sizes := TOO_LARGE.search(error.message):
                named = dict(zip(("size_bytes", "size_bytes_max"), sizes.groups(), strict=True))
                text = f"{where} takes no message of {sizes[1]} bytes."
                return fault(Reason.ERROR_REASON_MESSAGE_TOO_LARGE, text, metadata=named)
            case grpc.StatusCode.UNIMPLEMENTED:
                return CallError("", error.code, f"{where} does not have this call: {cause(error.message)}.")
        return error

    def _late(self, within: str, channel: grpc.aio.Channel) -> CallError:
        """
        Return the error for a call whose time was up, which need not be the fault of somebody slow.
        """
        if channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            # It was refused and tried again until then: nobody was there.
            return Unreachable(self._server, self.address, f"no connection came up {within}")
        text = f"{self._server} at {self.address} did not answer {within}."
        return DeadlineExceeded("", grpc.StatusCode.DEADLINE_EXCEEDED, text)

    def _tls_trouble(self, text: str) -> str:
        """
        Return what may be wrong with TLS, by gRPC's own text: it has no other sign of it.
        """
        if HANDSHAKE in text:
            return "failed"
        # Closed at once, before it said a word: a TLS server takes plain text for a broken handshake.
        return "missing" if self._tls is None and text.startswith(UNCONNECTED) and CLOSED in text else ""

    def _named(self, given: Metadata) -> tuple[tuple[str, str], ...]:
        """
        Return a call's metadata but for its key: its request id, and the trace it is part of.
        """
        named = any(key == REQUEST_ID for key, _ in given)
        own = () if named else ((REQUEST_ID, new_request_id()),)
        if tracing.ACTIVE is not None and (trace_parent := tracing.here()):
            own = (*own, (TRACE_PARENT, trace_parent))
        return (*given, *own)

    def _channel(self, own: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
        options = [
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # Left alone it grows to two minutes, for which a server that is back would still be called unavailable.
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            *own,
        ]
        tls = self._tls
        if tls is None:
            return grpc.aio.insecure_channel(self.address, options=options)

        def make() -> grpc.aio.Channel:
            return grpc.aio.secure_channel(self.address, channel_credentials(tls), options=options)

        try:
            return cast("grpc.aio.Channel", Renewing(make, tls.paths()))
        except CertificateUnreadable as error:
            raise ConnectionRefused(str(error)) from None


def cause(text: str) -> str:
    """
    Return the end of gRPC's own text, where the reason stands behind all that gRPC tried.
    """
    if HANDSHAKE in text:  # Its end is OK: what is wrong stands in the words of the library below.
        return "the TLS handshake failed; it speaks no TLS, or its certificate has run out or is not of the given CA"
    if text.startswith(UNCONNECTED) and CLOSED in text:
        return "it closed the connection at once"
    return text.rpartition(": ")[2].strip("[]. ") or "no answer"


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
    Return a caller's credentials, CertificateUnreadable when they are not whole; without a CA the system's are trusted.
    """
    check_pair(files.cert, files.key, files.ca, ssl.PROTOCOL_TLS_CLIENT)
    ca, cert, key = (content(path) if path is not None else None for path in (files.ca, files.cert, files.key))
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def read_key(path: Path | None) -> str:
    """
    Return the API key in a file, without the name and scopes that a server's list has beside it.
    """
    try:
        text = content(path).decode(errors="replace") if path is not None else ""
    except CertificateUnreadable as error:
        raise ConnectionRefused(str(error)) from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    return keys[0].rpartition(":")[2] if keys else ""
