import asyncio
import gzip
from collections.abc import Callable

import pytest

from tests.hostile.vitals import MIB, forget_peak, line_of, peak, resident
from tests.hostile.wire import Wire, framed, messages, request, wire
from tests.processes import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECK = "/grpc.health.v1.Health/Check"
OK, UNKNOWN, INVALID, DEADLINE, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 2, 3, 4, 5, 8, 12, 13
ESCAPES = b"\x1b[31mred\x1b[0m\r\nforged: line\x00\x7f\x08"
CUT_CHARS = 512


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"//",
        b"*",
        b"noslash",
        b"/a/b",
        b"/a/b/c",
        b"/../../etc/passwd",
        b"/grpc.health.v1.Health/Nope",
        b"/grpc.health.v1.Health/Check/",
        b"/grpc.health.v1.Health/check",
        b"/a\x00b/c",
        b"/" + ESCAPES,
        b"/" + b"a" * 5000,
        "/\uff47rpc.health.v1.Health/Check".encode(),
    ],
    ids=lambda path: repr(path[:20]),
)
async def test_a_path_nobody_serves_is_refused_in_words(server: ServerProcess, path: bytes) -> None:
    """
    A path that names no method gets UNIMPLEMENTED with a reason, whatever it looks like.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(path), framed(b""))
    assert (reply.grpc_status, reply.reason) == (UNIMPLEMENTED, "METHOD_UNKNOWN")


async def test_a_path_that_is_no_text_ends_one_call_only(server: ServerProcess) -> None:
    """
    A path that is not UTF-8 fails its call; the connection and the server go on. grpcio 1.84 died of it.
    """
    async with wire(server.address) as connection:
        broken = await connection.call(request(b"/caf\xff\xfe/\xc3\x28"), framed(b""))
        good = await connection.call(request(CHECK), framed(b""))
    assert broken.grpc_status in {UNKNOWN, UNIMPLEMENTED, INTERNAL}
    assert good.grpc_status == OK


@pytest.mark.parametrize(
    ("extra", "left_out"),
    [
        ((":method", "GET"), ":method"),
        ((":method", "CONNECT"), ":method"),
        (("x-none", ""), ":method"),
        (("x-none", ""), ":path"),
        (("x-none", ""), ":scheme"),
        (("x-none", ""), "te"),
        ((":path", CHECK), ""),
        ((":unknown", "x"), ""),
        (("connection", "close"), ""),
        (("", "no name"), ""),
        (("UPPER", "case"), ""),
    ],
    ids=str,
)
async def test_headers_that_are_no_request_end_one_call_only(
    server: ServerProcess, extra: tuple[str, str], left_out: str
) -> None:
    """
    Pseudo-headers that are missing, doubled or invented end the call or its connection, and nothing else.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK, extra, leave_out=left_out), framed(b""))
    assert reply.ended.is_set()
    assert reply.grpc_status is not None or reply.reset is not None or connection.closed.is_set()


@pytest.mark.parametrize("acknowledges", [True, False])
@pytest.mark.parametrize("size", [17_000, 40_000, 500_000])
async def test_metadata_over_16_kb_is_refused(server: ServerProcess, size: int, acknowledges: bool) -> None:
    """
    More than 16 KiB of metadata gets RESOURCE_EXHAUSTED, also from a peer that never acknowledges grpc's own limit.
    """
    async with wire(server.address, polite=acknowledges) as connection:
        if acknowledges:
            await connection.ping()
        reply = await connection.call(request(CHECK, ("x-big", "v" * size)), framed(b""))
    assert reply.grpc_status == EXHAUSTED


async def test_metadata_under_8_kb_is_taken(server: ServerProcess) -> None:
    """
    8 KB of metadata in many fields harms nobody.
    """
    extra = [(f"x-field-{i}", "v" * 100) for i in range(40)]
    async with wire(server.address) as connection:
        await connection.ping()
        reply = await connection.call(request(CHECK, *extra), framed(b""))
    assert reply.grpc_status == OK


@pytest.mark.parametrize(
    "value", [b"\xff\xfe\xfd", ESCAPES, b"a\nb", b"\xc3\xa9", b"x" * 4000, b"", b" "], ids=lambda v: repr(v[:10])
)
async def test_a_request_id_that_is_not_fit_for_a_log_is_replaced(server: ServerProcess, value: bytes) -> None:
    """
    Bad UTF-8, newlines, escapes and endless values in the request id come back neither in the reply nor in the log.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK, ("x-request-id", value), ("traceparent", value)), framed(b""))
    assert reply.grpc_status == OK
    answered = reply.value(b"x-request-id")
    assert answered is not None
    assert answered.isalnum()
    assert answered.encode() != value


async def test_binary_metadata_that_is_no_base64_fails_its_call(server: ServerProcess) -> None:
    """
    A -bin value that is no base64 fails its call.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK, ("x-trace-bin", b"\xff\x1b*")), framed(b""))
    assert reply.grpc_status == INTERNAL


async def test_a_log_line_stays_one_line_of_printable_text(server: ServerProcess) -> None:
    """
    What a caller writes reaches the log escaped and cut, in one object of JSON on one line.
    """
    path = b"/wire/" + ESCAPES + b"y" * 2000
    async with wire(server.address) as connection:
        await connection.call(request(path, ("user-agent", ESCAPES), ("x-request-id", ESCAPES)), framed(b""))
    number = await line_of(server, "/wire/")
    line, raw = server.lines[number], server.raw[number]
    assert raw.endswith("}\n")
    assert raw[:-1].isprintable()
    assert "\\u001b" not in raw
    assert len(line["method"]) <= CUT_CHARS + 8 * len(ESCAPES)


async def test_a_flood_of_broken_paths_is_no_flood_of_lines(server: ServerProcess) -> None:
    """
    Five hundred calls whose path is no text write some lines, and then none.
    """
    before = len(server.lines)
    async with wire(server.address) as connection:
        for _ in range(500):
            await connection.call(request(b"/\xff"), framed(b""))
        await connection.call(request("/end/of/it"), framed(b""))
    assert len(server.lines) - before < 300


@pytest.mark.parametrize("deadline", ["", "1", "S", "-1S", "1x", "1.5S", "1S extra", "٣S", "0x1S", "1e3S"])
async def test_a_deadline_that_is_none_fails_its_call(server: ServerProcess, deadline: str) -> None:
    """
    A grpc-timeout that cannot be read fails its call and is not taken for no deadline.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK, ("grpc-timeout", deadline)), framed(b""))
    assert reply.grpc_status == INTERNAL


@pytest.mark.parametrize(
    ("deadlines", "codes"),
    [
        (["0S"], {DEADLINE}),
        (["1n"], {OK, DEADLINE}),
        (["99999999H"], {OK}),
        (["9" * 30 + "H"], {OK, INTERNAL}),
        (["9S", "1S"], {OK, INTERNAL}),
    ],
    ids=str,
)
async def test_a_deadline_at_the_edge_is_honoured(server: ServerProcess, deadlines: list[str], codes: set[int]) -> None:
    """
    Deadlines of nothing, of ages, and two at once end their call in a way the protocol knows.
    """
    async with wire(server.address) as connection:
        extra = [("grpc-timeout", deadline) for deadline in deadlines]
        reply = await connection.call(request(CHECK, *extra), framed(b""))
    assert reply.grpc_status in codes


@pytest.mark.parametrize("kind", [None, "", "text/html", "application/grpc-web", "application/grpc+json", "a" * 4000])
async def test_another_content_type_does_no_harm(server: ServerProcess, kind: str | None) -> None:
    """
    A body of another type is still read as gRPC or refused; it is never taken for anything else.
    """
    extra = [] if kind is None else [("content-type", kind)]
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK, *extra, leave_out="content-type"), framed(b""))
        broken = await connection.call(request(CHECK, *extra, leave_out="content-type"), framed(b"<html>", length=9))
    assert reply.grpc_status == OK or reply.value(b":status") == "415"
    assert broken.grpc_status != OK


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"\0\0", framed(b"abc", length=10), framed(b"", length=1), framed(b"\xff\xff\xff")],
    ids=["nothing", "one byte", "two bytes", "three of ten", "none of one", "no protobuf"],
)
async def test_a_message_that_is_cut_or_garbage_is_malformed(server: ServerProcess, body: bytes) -> None:
    """
    A message that ends before its length says, or is no protobuf, is the caller's mistake and is told so.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK), body)
    assert (reply.grpc_status, reply.reason) == (INVALID, "MALFORMED_REQUEST")


async def test_headers_that_end_the_stream_are_malformed(server: ServerProcess) -> None:
    """
    Headers that are also the end get an answer without waiting for the time a message may take.
    """
    async with wire(server.address) as connection:
        reply = await connection.end(connection.begin(request(CHECK), end_stream=True))
    assert (reply.grpc_status, reply.reason) == (INVALID, "MALFORMED_REQUEST")


async def test_a_second_message_in_a_unary_call_is_not_answered(server: ServerProcess) -> None:
    """
    Two messages in a call that takes one get one reply.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK), framed(b"") * 2)
    assert reply.grpc_status in {OK, INVALID, INTERNAL, UNIMPLEMENTED}
    assert len(messages(bytes(reply.data))) <= 1


@pytest.mark.parametrize("length", [(1 << 20) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
async def test_a_length_beyond_the_limit_is_refused_before_the_bytes_come(server: ServerProcess, length: int) -> None:
    """
    A declared length over 1 MiB, up to 4 GiB, is refused from its five bytes and costs no memory.
    """
    forget_peak(server)
    before = resident(server)
    async with wire(server.address) as connection:
        number = connection.begin(request(CHECK))
        connection.body(number, framed(b"abc", length=length), end_stream=False)
        reply = await connection.end(number)
    assert reply.grpc_status == EXHAUSTED
    assert peak(server) - before < 8 * MIB


@pytest.mark.parametrize(
    ("encoding", "message", "codes"),
    [
        (None, b"\x0a\x01x", {NOT_FOUND, INVALID, INTERNAL, UNIMPLEMENTED}),
        (None, gzip.compress(b"", mtime=0), {INVALID, INTERNAL, UNIMPLEMENTED}),
        ("identity", gzip.compress(b"", mtime=0), {INVALID, INTERNAL, UNIMPLEMENTED}),
        ("gzip", b"no gzip", {INTERNAL}),
        ("gzip", gzip.compress(b"\x0a\x01x", mtime=0)[:-6], {INTERNAL, INVALID}),
        ("gzip", b"", {OK, INTERNAL, INVALID}),
        ("zstd", b"x", {INTERNAL, UNIMPLEMENTED}),
        ("x" * 1000, b"x", {INTERNAL, UNIMPLEMENTED}),
    ],
    ids=str,
)
async def test_a_compression_that_does_not_fit_fails_its_call(
    server: ServerProcess, encoding: str | None, message: bytes, codes: set[int]
) -> None:
    """
    A compressed flag without an encoding, an unknown encoding, or bytes that are not of it never pass as a request.
    """
    extra = [] if encoding is None else [("grpc-encoding", encoding)]
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK, *extra), framed(message, compressed=True))
    assert reply.grpc_status in codes


async def test_a_reserved_flag_does_no_harm(server: ServerProcess) -> None:
    """
    A message with flags nobody defined is refused or, as grpc has it at times, an empty one; it is never read.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK), b"\xfe" + framed(b"\x0a\x01x")[1:])
    assert reply.grpc_status in {OK, INVALID, INTERNAL}


async def test_a_compressed_message_within_the_limits_is_read(server: ServerProcess) -> None:
    """
    A message of 900 KB that travels as 1 KB is a message like any other.
    """
    name = b"n" * 900_000
    message = gzip.compress(b"\x0a" + varint(len(name)) + name)
    async with wire(server.address) as connection:
        reply = await connection.call(request(CHECK, ("grpc-encoding", "gzip")), framed(message, compressed=True))
    assert reply.grpc_status == NOT_FOUND


async def test_a_gzip_bomb_is_never_inflated(besieged: ServerProcess, figure: Callable[[str], None]) -> None:
    """
    Twenty messages at once of under 1 MiB that would be 900 MB each are refused, and memory hardly moves.
    """
    bomb = await asyncio.to_thread(gzip.compress, bytes(900 * MIB), 9)
    assert len(bomb) < MIB
    forget_peak(besieged)
    before = resident(besieged)

    async def drop() -> int | None:
        async with wire(besieged.address) as connection:
            headers = request(CHECK, ("grpc-encoding", "gzip"))
            return (await connection.call(headers, framed(bomb, compressed=True))).grpc_status

    codes = await asyncio.gather(*(drop() for _ in range(20)))
    figure(
        f"gzip bomb: 20 x {len(bomb) // 1024} KB for 900 MB each; memory {before // MIB} MB, "
        f"at its peak {peak(besieged) // MIB} MB, after {resident(besieged) // MIB} MB"
    )
    assert not {OK, NOT_FOUND} & set(codes)  # Refused, or given up while twenty megabytes came in; never read.
    assert peak(besieged) - before < 64 * MIB


async def test_a_body_sent_byte_by_byte_is_given_up(server: ServerProcess) -> None:
    """
    A message that trickles in is ended when its time is over, however lively it is.
    """
    async with wire(server.address) as connection:
        number = connection.begin(request(CHECK))
        connection.body(number, framed(b"", length=1000), end_stream=False)
        sent = await trickle(connection, number)
        reply = connection.replies[number]
    assert (reply.grpc_status, reply.reason) == (DEADLINE, "REQUEST_BODY_TIMEOUT")
    assert sent > 3


async def test_a_call_without_a_message_is_given_up(server: ServerProcess) -> None:
    """
    Headers without an end and without a message are ended when the message's time is over.
    """
    async with wire(server.address) as connection:
        reply = await connection.end(connection.begin(request(CHECK)))
    assert (reply.grpc_status, reply.reason) == (DEADLINE, "REQUEST_BODY_TIMEOUT")


async def trickle(connection: Wire, number: int) -> int:
    """
    Send a byte now and then until the stream is ended, and return how many were sent.
    """
    sent = 0
    while True:
        try:
            await connection.end(number, timeout_s=0.05)
        except TimeoutError:
            sent += 1
            connection.body(number, b"x", end_stream=False)
        else:
            return sent


def varint(number: int) -> bytes:
    """
    Return *number* as protobuf writes it.
    """
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
