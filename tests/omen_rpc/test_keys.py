import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from omen.v1.signal_service_pb2 import EmitSignalsRequest, GetSignalRequest
from omen_rpc import keys
from omen_rpc.errors import CallError
from omen_rpc.keys import KEYS_MAX, KeyRing, KeysUnreadable, Principal, offered_keys, parse_keys
from tests.hosting import Scripted, channel_to, hosted, refusal, streaming, stub_of, unary
from tests.omen_rpc.conftest import Logged

EVERYTHING = frozenset({"read", "ingest", "admin"})
GET = "/omen.v1.SignalService/GetSignal"
STREAM = "/omen.v1.SignalService/StreamSignals"
SEAL = "/omen.v1.LedgerService/SealPartition"


def header(key: str) -> list[tuple[str, str]]:
    """
    Return the metadata that offers *key*.
    """
    return [("x-api-key", key)]


def reason_for(ring: KeyRing, *metadata: tuple[str, str]) -> str:
    """
    Return the reason for which *ring* refuses *metadata*; empty when it does not.
    """
    try:
        ring.principal(metadata)
    except CallError as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t, ;\r\n", []),
        ("# only a comment\n", []),
        ("k1", [("k1", "key-1", EVERYTHING)]),
        ("k1,k2", [("k1", "key-1", EVERYTHING), ("k2", "key-2", EVERYTHING)]),
        ("ops:read:k1", [("k1", "ops", {"read"})]),
        ("ops:read,ingest:k1", [("k1", "ops", {"read", "ingest"})]),
        ("a:read:k1,b:ingest,read:k2,k3", [("k1", "a", {"read"}), ("k2", "b", {"read", "ingest"}), ("k3", "key-3", EVERYTHING)]),  # noqa: E501
        ("a:read:k1;b:admin:k2", [("k1", "a", {"read"}), ("k2", "b", {"admin"})]),
        ("  # who\na:read:k1 # until May\n\n\tb.c-d_9:admin:s#p+/=~", [("k1", "a", {"read"}), ("s#p+/=~", "b.c-d_9", {"admin"})]),  # noqa: E501
        ("old:read:k1\r\nold:read:k2\r\n", [("k1", "old", {"read"}), ("k2", "old", {"read"})]),
    ],
)  # fmt: skip
def test_keys_are_read(text: str, expected: Sequence[tuple[str, str, Any]]) -> None:
    """
    Keys stand one a line or in a list, named with scopes or bare; what follows a # is a comment and never a key.
    """
    ring = KeyRing(text)
    for key, name, scopes in expected:
        assert ring.principal(header(key)) == Principal(name, frozenset(scopes))
    assert len(parse_keys(text, "here")) == len(expected)


@pytest.mark.parametrize("word", ["#", "until", "May", "#until", "a", "read"])
def test_comments_open_no_door(word: str) -> None:
    """
    No word of a comment, of a name or of a scope is a key.
    """
    ring = KeyRing("a:read:k1 # until May\n#until\n")
    assert reason_for(ring, ("x-api-key", word)) == "API_KEY_UNKNOWN"


@pytest.mark.parametrize(
    "text",
    [
        "ops:read:",
        "ops::s3cret",
        ":read:s3cret",
        "ops:s3cret",
        "ops:s3cret:read",
        "ops:write:s3cret",
        "ops:READ:s3cret",
        "ops:read,:s3cret",
        "ops:read:s3cret:more",
        "o ps:read:s3cret",
        "k1 k2",
        "ops:read:" + "s3cret" * 100,
        "n" * 65 + ":read:s3cret",
    ],
)
def test_bad_lists_are_refused_without_showing_a_key(text: str) -> None:
    """
    A list that is none is refused with its origin and the number of the entry, and with nothing that stands in it.
    """
    with pytest.raises(KeysUnreadable, match=r"^/etc/keys: key [12] (is not of the form|has a scope)") as caught:
        parse_keys(f"good:read:k1\n{text}" if text.startswith("ops") else text, "/etc/keys")
    assert "s3cret" not in str(caught.value)


def test_key_written_where_the_scope_belongs_is_not_shown() -> None:
    """
    Whoever mixes up the order does not find the key in a log.
    """
    with pytest.raises(KeysUnreadable) as caught:
        parse_keys("ops:hunter:read", "here")
    assert "hunter" not in str(caught.value)


def test_list_is_bounded() -> None:
    """
    A list of more keys than there may be is refused, as each is compared for every call.
    """
    assert len(parse_keys("\n".join(f"k{n}" for n in range(KEYS_MAX)), "here")) == KEYS_MAX
    with pytest.raises(KeysUnreadable, match="1001 keys, 1000 at most"):
        parse_keys("\n".join(f"k{n}" for n in range(KEYS_MAX + 1)), "here")


@pytest.mark.parametrize(
    ("metadata", "offered"),
    [
        ([], []),
        ([("x-api-key", "k")], ["k"]),
        ([("authorization", "Bearer k")], ["k"]),
        ([("authorization", "bearer  k ")], ["k"]),
        ([("authorization", "BEARER k")], ["k"]),
        ([("authorization", "Basic k")], [""]),
        ([("authorization", "k")], [""]),
        ([("x-api-key", "k"), ("authorization", "Bearer k")], ["k"]),
        ([("x-api-key", "k"), ("x-api-key", "l")], ["k", "l"]),
        ([("authorization", "Bearer k"), ("x-api-key", "l")], ["k", "l"]),
        ([("x-api-key", b"k")], [""]),
        ([("x-api-key-bin", "k"), ("cookie", "k")], []),
    ],
)
def test_offered_keys(metadata: Any, offered: list[str]) -> None:
    """
    A key is offered in either header, in Bearer of any case; the same in both is one, another scheme is none that fits.
    """
    assert offered_keys(metadata) == offered


def test_no_list_asks_for_no_key() -> None:
    """
    Without a list everybody may everything, and has no name.
    """
    ring = KeyRing()
    assert not ring.required
    assert ring.principal(header("whatever")) is None


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ({"read"}, {"read"}),
        ({"ingest"}, {"ingest"}),
        ({"read", "ingest"}, {"read", "ingest"}),
        ({"admin"}, {"read", "ingest", "admin"}),
    ],
)
def test_scopes_allow_themselves_and_admin_all(scopes: set[str], allowed: set[str]) -> None:
    """
    A scope allows what it names and no other; admin allows everything.
    """
    principal = Principal("ops", frozenset(scopes))
    assert {scope for scope in EVERYTHING if principal.may(scope)} == allowed


def test_nothing_but_the_key_fits() -> None:
    """
    A key is compared whole: of two thousand others none is let in, nor its beginning, nor it with something after it.
    """
    ring = KeyRing("ops:read:the-key")
    others = [f"guess-{n}" for n in range(2000)] + ["the-ke", "the-key2", "THE-KEY", " the-key", ""]
    assert {reason_for(ring, *header(key)) for key in others} == {"API_KEY_UNKNOWN"}


def test_no_key_is_kept(tmp_path: Path) -> None:
    """
    What is kept of a key is its digest: a dump of the ring shows none.
    """
    file = tmp_path / "keys"
    file.write_text("b:read:s3cret-b")
    ring = KeyRing("a:read:s3cret-a", file)
    assert "s3cret" not in repr(vars(ring))
    assert len(ring._keys) == 2


class Clock:
    """
    A clock that the test turns.
    """

    now = 0.0

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now


def test_rotation_by_file(tmp_path: Path, logged: Logged) -> None:
    """
    The new key works beside the old once it is in the file, the old one until it is out of it; no restart, and no look
    at the file more than once a second.
    """
    file, clock = tmp_path / "keys", Clock()
    file.write_text("a:read:old\n")
    ring = KeyRing("", file, monotonic=clock)
    seen = []
    for text in ("a:read:old\na:read:new\n", "a:read:new\n"):
        file.write_text(text)
        clock.now += 0.5
        ring.principal(header("old" if "old" in text else "new"))
        clock.now += 0.6
        seen.append([reason_for(ring, *header(key)) for key in ("old", "new")])
    assert seen == [["", ""], ["API_KEY_UNKNOWN", ""]]
    assert [line["keys_in_force"] for line in logged.lines("api_keys_read")] == [1, 2, 1]


def test_file_adds_to_the_list(tmp_path: Path) -> None:
    """
    A key of the environment stays in force whatever the file holds.
    """
    file, clock = tmp_path / "keys", Clock()
    file.write_text("b:read:k2")
    ring = KeyRing("a:read:k1", file, monotonic=clock)
    assert [reason_for(ring, *header(key)) for key in ("k1", "k2")] == ["", ""]
    file.write_text("")
    clock.now += 2
    assert [reason_for(ring, *header(key)) for key in ("k1", "k2")] == ["", "API_KEY_UNKNOWN"]


def test_emptied_file_opens_nothing(tmp_path: Path) -> None:
    """
    A file that lost its last key shuts everybody out; it does not let everybody in.
    """
    file, clock = tmp_path / "keys", Clock()
    file.write_text("a:read:k1")
    ring = KeyRing("", file, monotonic=clock)
    file.write_text("# none left\n")
    clock.now += 2
    assert ring.required
    assert reason_for(ring) == "API_KEY_MISSING"
    assert reason_for(ring, *header("k1")) == "API_KEY_UNKNOWN"


@pytest.mark.parametrize("damage", ["unparsable", "binary", "missing", "directory"])
def test_unreadable_file_keeps_the_old_keys(damage: str, tmp_path: Path, logged: Logged) -> None:
    """
    A file that cannot be read leaves the keys as they were and is logged without its content; once it is whole again,
    it counts again.
    """
    file, clock = tmp_path / "keys", Clock()
    file.write_text("a:read:k1")
    ring = KeyRing("", file, monotonic=clock)
    file.unlink()
    if damage == "directory":
        file.mkdir()
    elif damage == "binary":
        file.write_bytes(b"a:read:s3cret\xff\xfe")
    elif damage == "unparsable":
        file.write_text("a:write:s3cret")
    clock.now += 2
    assert reason_for(ring, *header("k1")) == ""
    (line,) = logged.lines("api_keys_unreadable")
    assert (line["level"], line["keys_in_force"]) == ("warning", 1)
    assert str(file) in line["error"]
    assert "s3cret" not in logged.text
    if damage == "directory":
        file.rmdir()
    file.write_text("a:read:k2")
    clock.now += 2
    assert [reason_for(ring, *header(key)) for key in ("k1", "k2")] == ["API_KEY_UNKNOWN", ""]


def test_file_that_could_not_be_opened_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A new file that is there before it may be read is read once it may, though nothing but its mode has changed.
    """
    file, clock = tmp_path / "keys", Clock()
    file.write_text("a:read:k1")
    ring = KeyRing("", file, monotonic=clock)
    file.write_text("a:read:k2 ")
    with monkeypatch.context() as locked:
        locked.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        clock.now += 2
        assert reason_for(ring, *header("k1")) == ""
    clock.now += 2
    assert reason_for(ring, *header("k2")) == ""


def test_file_must_be_whole_at_the_start(tmp_path: Path) -> None:
    """
    A server does not start with a key file that is not there.
    """
    with pytest.raises(KeysUnreadable, match="No such file"):
        KeyRing("", tmp_path / "nothing")


async def test_auth() -> None:
    """
    Over real gRPC: no key, a wrong key, two keys, a scope too small are refused with their own reason; either header
    with a good key is let in.
    """
    settings = {"api_keys": "reader:read:k-read,feeder:ingest:k-ingest,boss:admin:k-admin"}
    async with hosted(Scripted(), settings=settings) as server, stub_of(server) as stub:

        async def outcome(call: Any) -> str:
            return "" if await call.code() is grpc.StatusCode.OK else (await refusal(call)).reason

        def get(*metadata: tuple[str, str]) -> Any:
            return stub.GetSignal(GetSignalRequest(), timeout=5, metadata=metadata)

        def emit(key: str) -> Any:
            return stub.EmitSignals(EmitSignalsRequest(), timeout=5, metadata=header(key))

        assert await outcome(get()) == "API_KEY_MISSING"
        assert await outcome(get(("x-api-key", "wrong"))) == "API_KEY_UNKNOWN"
        assert await outcome(get(("authorization", "Basic k-read"))) == "API_KEY_UNKNOWN"
        assert await outcome(get(("x-api-key", "k-read"), ("x-api-key", "k-admin"))) == "API_KEY_AMBIGUOUS"
        assert await outcome(get(("x-api-key", "k-read"), ("authorization", "Bearer k-admin"))) == "API_KEY_AMBIGUOUS"
        assert await outcome(get(("x-api-key", "k-read"))) == ""
        assert await outcome(get(("authorization", "bearer k-read"))) == ""
        assert await outcome(get(("x-api-key", "k-ingest"))) == "SCOPE_MISSING"
        assert [await outcome(emit(key)) for key in ("k-read", "k-ingest", "k-admin")] == ["SCOPE_MISSING", "", ""]
        error = await refusal(emit("k-read"))
    assert error.code is grpc.StatusCode.PERMISSION_DENIED
    assert error.metadata["principal"] == "reader"
    assert error.metadata["required_scope"] == "ingest"
    assert "k-read" not in repr(vars(error))


@pytest.mark.parametrize("path", [GET, STREAM])
@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED),
        ("wrong", grpc.StatusCode.UNAUTHENTICATED),
        ("k-ingest", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_call_that_never_sends_a_message_is_refused_at_once(
    path: str, key: str | None, code: grpc.StatusCode
) -> None:
    """
    Who has no right to call hears so from the headers alone, and holds no place while the server waits for a message.
    """
    settings = {"api_keys": "feeder:ingest:k-ingest", "body_timeout_s": 60}
    async with hosted(Scripted(), settings=settings) as server, channel_to(str(server.address)) as channel:
        call = streaming(channel, path)(metadata=header(key) if key else [])
        assert await asyncio.wait_for(call.code(), 5) is code


async def test_probes_need_no_key() -> None:
    """
    Health and reflection answer without a key, and with a wrong one.
    """
    async with (
        hosted(Scripted(), settings={"api_keys": "a:read:k1"}) as server,
        channel_to(str(server.address)) as channel,
    ):
        for metadata in ([], header("wrong")):
            check = unary(channel, "/grpc.health.v1.Health/Check")
            assert await check(b"", timeout=5, metadata=metadata) == b"\x08\x01"
            call = streaming(channel, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(metadata=metadata)
            await call.write(b"\x3a\x00")
            assert b"omen.v1.SignalService" in await asyncio.wait_for(call.read(), 5)
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK


async def test_rotated_key_over_grpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A running server lets the new key in and the old one out as soon as it has looked at the file.
    """
    monkeypatch.setattr(keys, "FILE_CHECK_INTERVAL_S", 0.0)
    file = tmp_path / "keys"
    file.write_text("a:read:old")
    async with hosted(Scripted(), settings={"api_keys_file": file}) as server, stub_of(server) as stub:

        async def code(key: str) -> grpc.StatusCode:
            return await stub.GetSignal(GetSignalRequest(), timeout=5, metadata=header(key)).code()

        assert await code("old") is grpc.StatusCode.OK
        replacement = tmp_path / "keys.new"
        replacement.write_text("a:read:new")
        os.replace(replacement, file)  # noqa: PTH105 - as an operator's tool does it
        assert await code("new") is grpc.StatusCode.OK
        assert await code("old") is grpc.StatusCode.UNAUTHENTICATED
