import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.symbol_database import Default

from omen.v1 import error_pb2, server_info_service_pb2, signal_pb2
from omen_rpc.contract import FILES, ErrorRule, catalogue, rpc_rule, services

ACTIONS = {"RETRY", "TREAT_AS_SUCCESS", "FIX_REQUEST", "ESCALATE", "RESYNC"}
READ = ("Get", "List", "Stream", "Verify", "Read", "Explain", "Prove", "Dump", "Lookup", "Compare")
INGEST = ("Submit", "Emit", "Ingest")
ADMIN = ("Seal", "Run", "Requeue", "Purge", "Confirm", "Pause", "Resume", "Set", "Replay", "Waive")
FORBIDDEN = {"impact", "severity", "delay", "cost", "recommendation", "decision"}

RULES = list(catalogue().values())
METHODS = [method for service in services() for method in service.methods]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_is_whole(rule: ErrorRule) -> None:
    """
    Every error has a code that is an error, something to do, and both sentences.
    """
    assert rule.code is not grpc.StatusCode.OK
    assert rule.action in ACTIONS
    for sentence in (rule.summary, rule.remedy):
        assert sentence[0].isupper()
        assert sentence.endswith(".")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_says_what_to_wait_for(rule: ErrorRule) -> None:
    """
    Whoever is told to send the same again is told by RetryInfo when, and nobody else but for a full disk.
    """
    tells = "google.rpc.RetryInfo" in rule.detail_types
    assert tells == rule.retryable or rule.name == "STORAGE_EXHAUSTED"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_details_exist(rule: ErrorRule) -> None:
    """
    Every detail type that an error names is a message that servers and clients know.
    """
    for name in rule.detail_types:
        assert Default().GetSymbol(name).DESCRIPTOR.full_name == name


def test_catalogue_is_the_enum() -> None:
    """
    No value of the enum is without its row, and no row without its value.
    """
    names = [value.name.removeprefix("ERROR_REASON_") for value in error_pb2.ErrorReason.DESCRIPTOR.values[1:]]
    assert list(catalogue()) == names


def test_summary_is_the_comment(root: Path, tmp_path: Path) -> None:
    """
    What people read at a value in the proto is what they read in the message of the error.
    """
    target = tmp_path / "set.binpb"
    include = [f"-I{root / 'proto'}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    flags = ["--include_source_info", f"--descriptor_set_out={target}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *include, *flags, "omen/v1/error.proto"], check=True)
    file = FileDescriptorSet.FromString(target.read_bytes()).file[0]
    at = [enum.name for enum in file.enum_type].index("ErrorReason")
    comments = {
        file.enum_type[at].value[place.path[3]].name: " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if len(place.path) == 4 and list(place.path[:3]) == [5, at, 2]
    }
    del comments["ERROR_REASON_UNSPECIFIED"]
    assert comments == {f"ERROR_REASON_{rule.name}": rule.summary for rule in RULES}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_scope_follows_the_verb(method: MethodDescriptor) -> None:
    """
    A method's first word decides who may call it: reading words need read, ingesting ones ingest, all others admin.
    """
    verbs = {"read": READ, "ingest": INGEST, "admin": ADMIN}
    expected = [scope for scope, words in verbs.items() if method.name.startswith(words)]
    assert [rpc_rule(method).scope] == expected


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_call_class_follows_the_shape(method: MethodDescriptor) -> None:
    """
    What writes counts as ingest, what reads as query; only what may stay open for long counts as subscribe.
    """
    rule = rpc_rule(method)
    stays_open = method.name in {"StreamSignals", "RunReconcile"}
    assert rule.call_class == ("subscribe" if stays_open else "query" if rule.scope == "read" else "ingest")
    assert not method.client_streaming


def test_method_without_rule_is_refused() -> None:
    """
    A method that nobody annotated raises at once and by name, so that no server starts with it.
    """
    pool = DescriptorPool()
    file = FileDescriptorSet().file.add(name="bare.proto", package="bare", syntax="proto3")
    file.message_type.add(name="Empty")
    file.service.add(name="Bare").method.add(name="Open", input_type=".bare.Empty", output_type=".bare.Empty")
    pool.Add(file)
    with pytest.raises(ValueError, match=r"bare\.Bare\.Open has no \(omen\.v1\.rpc_rule\)"):
        rpc_rule(pool.FindFileByName("bare.proto").services_by_name["Bare"].methods[0])


def test_services_are_all_there(root: Path) -> None:
    """
    Every service file of the protos is in the table that servers, clients and references are made from.
    """
    protos = {path.relative_to(root / "proto").as_posix() for path in (root / "proto").rglob("*_service.proto")}
    assert {file.name for files in FILES.values() for file in files} == protos
    assert {service.file.package for service in services()} == {"omen.v1", "riskcast.v1", "reconcile.v1"}
    assert [service.full_name for service in services(["riskcast.v1"])] == [
        "riskcast.v1.IngestService",
        "riskcast.v1.InventoryService",
    ]


def fields_of(message: Descriptor, seen: set[str]) -> Iterator[str]:
    """
    Yield the full names of the fields of *message* and of everything of ours inside it.
    """
    if message.full_name in seen or not message.full_name.startswith("omen."):
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field.full_name
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def test_signals_decide_nothing() -> None:
    """
    No field of a signal, however deep, speaks of impact, severity, delay, cost or recommendation: OMEN does not decide.
    """
    names = list(fields_of(signal_pb2.SignalEvent.DESCRIPTOR, set()))
    assert "omen.v1.OmenSignal.probability" in names
    assert "omen.v1.SignalContext.regions" in names or any(name.endswith(".regions") for name in names)
    assert [name for name in names if FORBIDDEN & set(name.rpartition(".")[2].split("_"))] == []


def test_every_server_describes_itself() -> None:
    """
    GetServerInfo is a reading call of no signal: its cost and its scope are those of a query.
    """
    method = server_info_service_pb2.DESCRIPTOR.services_by_name["ServerInfoService"].methods[0]
    assert (rpc_rule(method).scope, rpc_rule(method).call_class) == ("read", "query")
