"""
A server's life: bind, recover behind closed doors, serve, drain, stop.

The order of draining is fixed: NOT_SERVING, a pause for load balancers, streams ended, calls finished, port closed.
What the services stand on is closed by whoever opened it, after that.
"""

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor

from omen.v1 import server_info_service_pb2
from omen_rpc import metrics
from omen_rpc.address import Address, AddressRefused, check_free, parse_address
from omen_rpc.certificate import CertificateUnreadable
from omen_rpc.endpoint import endpoints, probes
from omen_rpc.gate import Gate, Limits
from omen_rpc.hangup import remember_starters
from omen_rpc.health import SERVICE as HEALTH
from omen_rpc.health import Health
from omen_rpc.keys import KeyRing, KeysUnreadable
from omen_rpc.metadata import METADATA_BYTES_MAX
from omen_rpc.notify_socket import NotifySocket
from omen_rpc.precautions import check_security
from omen_rpc.rate import RateLimit
from omen_rpc.reflection import reflection
from omen_rpc.refusal import Translate
from omen_rpc.server_info import ServerInfo
from omen_rpc.settings import Loaded, ServerSettings, SettingsRefused
from omen_rpc.tls import server_credentials
from omen_rpc.web import Web

Answer = TypeVar("Answer")
WATCHERS_TOLD_S = 1.0
CERTIFICATES = {"tls_cert": "server", "tls_client_ca": "client_ca", "tls_client_cert": "client", "tls_ca": "ca"}
INFO = server_info_service_pb2.DESCRIPTOR.services_by_name["ServerInfoService"]

log = structlog.get_logger()


class StoppedEarly(Exception):
    """
    The server was told to stop before it had begun to serve.
    """


class Server:
    """
    One process's gRPC server and its HTTP port.

    `open` binds and answers probes; `run` serves until a signal, then drains. Both may be followed by `close`, which
    may be called twice.
    """

    def __init__(
        self,
        name: str,
        loaded: Loaded[ServerSettings],
        services: Mapping[ServiceDescriptor, object],
        translate: Translate | None = None,
    ) -> None:
        self.settings = loaded.settings
        self.draining = asyncio.Event()
        self.info = ServerInfo(name, loaded.shown())
        self._address = parse_address(self.settings.listen)
        self._files = check_security(self.settings, self._address)
        self._services = {**services, INFO: self.info}
        self._health = Health([service.full_name for service in self._services])
        self._gate = Gate(limits(self.settings), key_ring(self.settings), rate(self.settings), translate or {})
        self._web = Web(Address(web_host(self._address), self.settings.metrics_port), lambda: self._health.ready, name)
        self._notify_socket = NotifySocket(self.settings.notify_socket, self.settings.watchdog_usec)
        self._server: grpc.aio.Server | None = None
        self._told_to_stop = asyncio.Event()
        self._drained_by_s: float | None = None
        self.address = self._address
        self.web_address: Address | None = None

    async def open(self) -> None:
        """
        Bind both ports. Health says NOT_SERVING and every call gets STARTING until `run`.
        """
        described = [*self._services, HEALTH]
        for endpoint in probes(HEALTH, self._health):
            self._gate.host(endpoint)
        if self.settings.serves_reflection:
            for endpoint in reflection(described):
                self._gate.host(endpoint)
        for service, servicer in self._services.items():
            self.host(service, servicer)
        self.info.services = [service.full_name for service in described]
        watch_certificates(self.settings)
        self._watch_signals()
        loop = asyncio.get_running_loop()
        metrics.SERVER_TASKS.set_function(lambda: len(asyncio.all_tasks(loop)))
        remember_starters(loop)
        self.address = await self._bind()
        self.web_address = await self._web.start()

    def host(self, service: ServiceDescriptor, servicer: object) -> None:
        """
        Let *servicer* answer for *service* from now on.

        What a service stands on is opened after the port, so that probes are answered meanwhile: until then the
        generated servicer holds its place, and nothing reaches it before `run`.
        """
        for endpoint in endpoints(service, servicer):
            self._gate.host(endpoint)

    async def run(self, engine: str) -> None:
        """
        Serve until SIGTERM or SIGINT, then drain.
        """
        self.info.engine = engine
        self._gate.serve()
        self._health.set_ready(ready=True)
        self._count_ready()
        self._notify_socket.serving(f"serving on {self.address}")
        log.info("serving", address=str(self.address), engine=engine, metrics=str(self.web_address), pid=os.getpid())
        try:
            await self._told_to_stop.wait()
        finally:
            await self._drain()

    @property
    def drain_left_s(self) -> float:
        """
        How much of the drain time is left, for what has to end after the calls; all of it before draining begins.
        """
        if self._drained_by_s is None:
            return self.settings.drain_timeout_s
        return max(0.0, self._drained_by_s - asyncio.get_running_loop().time())

    async def unless_stopped(self, starting: Coroutine[Any, Any, Answer]) -> Answer:
        """
        Return what *starting* does, which may take long; StoppedEarly as soon as the server is told to stop meanwhile.
        """
        work, told = asyncio.create_task(starting), asyncio.create_task(self._told_to_stop.wait())
        try:
            await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise StoppedEarly
            return work.result()
        finally:
            work.cancel()
            told.cancel()
            await asyncio.gather(work, told, return_exceptions=True)

    def stop(self) -> None:
        """
        Do what the first signal does.
        """
        self._told_to_stop.set()

    def impair(self, reason: str, services: Iterable[ServiceDescriptor]) -> None:
        """
        Say in health that *services* cannot do all of their work, until `mend` of the same reason. Calls go on.
        """
        self._health.impair(reason, [service.full_name for service in services])
        self._count_ready()

    def mend(self, reason: str) -> None:
        """
        Take back what `impair` said.
        """
        self._health.mend(reason)
        self._count_ready()

    async def give_up(self, grace_s: float) -> None:
        """
        Let nobody in any more and give the calls inside a moment to answer: the process is about to end, and not well.
        """
        self._health.set_ready(ready=False)
        self._gate.refuse_new()
        self._gate.end_streams()
        if self._server is not None:
            await self._server.stop(grace_s)

    async def close(self) -> None:
        """
        Close both ports at once, whatever is going on; after `run` both are. The watchdog is told nothing any more.
        """
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
        await self._web.close()
        self._notify_socket.close()

    async def _bind(self) -> Address:
        check_free(self._address)
        self._server = grpc.aio.server(options=options(self.settings), maximum_concurrent_rpcs=calls_max(self.settings))
        self._server.add_generic_rpc_handlers((self._gate,))
        try:
            if self._files is None:
                port = self._server.add_insecure_port(str(self._address))
            else:
                port = self._server.add_secure_port(str(self._address), server_credentials(self._files))
        except (RuntimeError, CertificateUnreadable) as error:
            raise AddressRefused(f"cannot listen on {self._address}: {error}") from None
        await self._server.start()
        return self._address if self._address.path else Address(self._address.host, port)

    async def _drain(self) -> None:
        settings = self.settings
        self._notify_socket.stopping()
        log.info("draining", pause_s=settings.drain_pause_s, timeout_s=settings.drain_timeout_s)
        self._health.set_ready(ready=False)
        self._count_ready()
        await asyncio.sleep(settings.drain_pause_s)
        self._drained_by_s = asyncio.get_running_loop().time() + settings.drain_timeout_s
        self.draining.set()  # Whoever awaits a delivery answers with what it has.
        self._gate.refuse_new()
        await self._health.close(WATCHERS_TOLD_S)
        ended = self._gate.end_streams()
        # grpc cancels whatever reaches it while it stops, without a word. So it stops when nobody is inside any more;
        # until then whoever comes is told to come again.
        await self._gate.emptied(self.drain_left_s)
        if self._server is not None:
            await self._server.stop(self.drain_left_s)
            self._server = None
        await self._web.close()
        log.info("drained", streams_ended=ended)

    def _count_ready(self) -> None:
        metrics.SERVER_READY.set(self._health.ready)

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, RuntimeError):  # Not the main thread: whoever runs us there stops us.
                loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._told_to_stop.is_set():
            log.warning("stopped_at_once", signal=number.name)
            os._exit(128 + number)
        log.info("signal", signal=number.name)
        self._told_to_stop.set()


def watch_certificates(settings: ServerSettings) -> None:
    """
    Let the metrics tell when the certificates run out that the server and its own calls use.
    """
    files = {kind: getattr(settings, name, None) for name, kind in CERTIFICATES.items()}
    if used := {kind: path for kind, path in files.items() if path is not None}:
        from omen_rpc import expiry  # noqa: PLC0415 - takes a while to import, and plain text needs none of it

        expiry.watch(used)


def key_ring(settings: ServerSettings) -> KeyRing:
    """
    Return the keys callers may use.
    """
    text = settings.api_keys.get_secret_value() if settings.api_keys is not None else ""
    try:
        ring = KeyRing(text, settings.api_keys_file)
    except KeysUnreadable as error:
        raise SettingsRefused(f"API keys: {error}") from None
    if settings.api_keys is not None and not ring.required:
        raise SettingsRefused("API keys: the list is given and holds none. Put keys in, or leave the setting out.")
    return ring


def rate(settings: ServerSettings) -> RateLimit | None:
    """
    Return the rate callers are held to; None when there is none.
    """
    if not settings.rate_limit_per_minute:
        return None
    return RateLimit(settings.rate_limit_per_minute, settings.rate_limit_burst)


def limits(settings: ServerSettings) -> Limits:
    """
    Return how much goes through the gate at once.
    """
    return Limits(
        calls_max={
            "ingest": settings.ingest_calls_max,
            "query": settings.query_calls_max,
            "subscribe": settings.subscribe_calls_max,
            "probe": settings.probe_calls_max,
        },
        bodies_awaited_max=settings.bodies_awaited_max,
        body_timeout_s=settings.body_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )


def calls_max(settings: ServerSettings) -> int:
    """
    Return the most calls grpc may hand over at once: every place there is, and half as many to be told there is none.

    Beyond that grpc refuses by itself, and its refusal cannot say why.
    """
    places = sum(limits(settings).calls_max.values()) + settings.bodies_awaited_max
    return places + places // 2


def web_host(address: Address) -> str:
    """
    Return the host of the HTTP port: the same as the server's.
    """
    return address.host or "127.0.0.1"


def options(settings: ServerSettings) -> Sequence[tuple[str, int]]:
    """
    Return grpc's own options. Each is a limit that a hostile or broken peer would otherwise set for us.
    """
    return (
        ("grpc.so_reuseport", 0),  # The default lets a second server share the port in silence.
        ("grpc.max_concurrent_streams", settings.streams_per_connection_max),
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.max_connection_idle_ms", ms(settings.connection_idle_s)),
        ("grpc.max_connection_age_ms", ms(settings.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", ms(settings.connection_age_grace_s)),
        ("grpc.keepalive_time_ms", ms(settings.keepalive_interval_s)),
        ("grpc.keepalive_timeout_ms", ms(settings.keepalive_timeout_s)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.settings_timeout", ms(settings.handshake_timeout_s)),  # Before it is read no limit of ours holds.
        ("grpc.server_handshake_timeout_ms", ms(settings.handshake_timeout_s)),
        ("grpc.max_allowed_incoming_connections", settings.connections_max),
        ("grpc.server_max_unrequested_time_in_server", 5),
        ("grpc.server.max_pending_requests", 10_000),  # Above it grpc drops calls at random, also those of others.
        ("grpc.server.max_pending_requests_hard_limit", 20_000),
    )


def ms(seconds: float) -> int:
    """
    Return *seconds* in milliseconds, at least one.
    """
    return max(1, round(seconds * 1000))
