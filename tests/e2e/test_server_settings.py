"""
The settings of the server programs, from outside: what is told of them, and what is refused.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from omen.v1.server_info_service_pb2 import GetServerInfoRequest
from omen.v1.server_info_service_pb2_grpc import ServerInfoServiceStub
from omen_server.settings import OmenSettings
from riskcast_server.settings import RiskCastSettings
from tests.e2e.refusing import BIN, refused
from tests.hosting import channel_to
from tests.processes import running, tree_environment

PROGRAMS = ["omen-server", "riskcast-server"]
SECRET = "sk-live-51Hx"
NOT_LOOPBACK = "0.0.0.0:0 is not loopback, and there is no TLS. Add --tls-cert FILE --tls-key FILE, or --insecure"


@pytest.mark.parametrize("program", PROGRAMS)
async def test_settings_are_told_with_their_sources(program: str, tmp_path: Path) -> None:
    """
    GetServerInfo shows each setting with where it came from, and stars for what is secret.
    """
    prefix = "OMEN" if program == "omen-server" else "RISKCAST"
    table = f"[{prefix.lower()}]\nlog_level = 'info'\n"
    (tmp_path / "o.toml").write_text(f"body_timeout_s = 7\nlog_level = 'warning'\n{table}")
    environment = {
        f"{prefix}_SECURITY_API_KEYS": f"ops:read:{SECRET}",
        f"{prefix}_WRITE_TIMEOUT_S": "9",
    }
    flags = ["--config=o.toml", "--handshake-timeout-s=5"]
    async with (
        running(program, *flags, cwd=tmp_path, environment=environment) as server,
        channel_to(server.address) as channel,
    ):
        info = await ServerInfoServiceStub(channel).GetServerInfo(
            GetServerInfoRequest(), timeout=5, metadata=[("authorization", f"Bearer {SECRET}")]
        )
    shown = {each.name: (each.value, each.source) for each in info.settings}
    assert shown["handshake_timeout_s"] == ("5.0", "flag")
    assert shown["write_timeout_s"] == ("9.0", "environment")
    assert shown["body_timeout_s"] == ("7.0", "file")
    assert shown["log_level"] == ("info", "file")
    assert shown["bodies_awaited_max"] == ("100", "default")
    assert shown["api_keys"] == ("***", "environment")
    assert SECRET not in str(info) + "".join(server.raw)
    assert (info.service, info.pid) == (program, server.pid)


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--listen=0.0.0.0:0"], {}, NOT_LOOPBACK),
        (["--env=production"], {}, "production wants API keys. Add --api-keys-file FILE"),
        ([], {"OMEN_ENV": "production", "OMEN_SECURITY_API_KEYS": " , "}, "API keys: the list is given and holds none"),
        ([], {"OMEN_SECURITY_API_KEYS": f"ops:write:{SECRET}"}, "API keys: the environment's key list: key 1"),
        (["--api-keys-file=nowhere"], {}, "API keys: nowhere: No such file or directory"),
        (["--metrics-port=70000"], {}, "--metrics-port (flag): Input should be less than or equal to 65535"),
        (["--config=nowhere.toml"], {}, "nowhere.toml: No such file or directory."),
        ([f"--api-keys={SECRET}"], {}, "--api-keys is no flag, since every process can read a command line."),
        (["--lisen=x"], {}, "--lisen is no flag of omen-server. Did you mean --listen?"),
        (["--listen=here"], {}, "'here' is no address; write HOST:PORT"),
        (["--tls-cert=a.pem"], {}, "--tls-cert and --tls-key belong together"),
        (["--tls-cert=a.pem", "--tls-key=a.key"], {}, "cannot listen on 127.0.0.1:0: a.pem: No such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(arguments: list[str], environment: dict[str, str], says: str) -> None:
    """
    A server that cannot start as it is told ends with 2 and one line on stderr: what, where it was set, what to do.
    """
    line = refused("omen-server", *arguments, **environment)
    assert line.startswith(says)
    assert SECRET not in line


@pytest.mark.parametrize("program", [*PROGRAMS, "omen-reconciler"])
def test_production_is_refused_without_keys_by_every_server(program: str) -> None:
    """
    All three servers hold to what production asks for.
    """
    assert refused(program, OMEN_ENV="production").startswith("production wants API keys.")


@pytest.mark.parametrize(("program", "model"), [("omen-server", OmenSettings), ("riskcast-server", RiskCastSettings)])
def test_help_has_every_setting(program: str, model: Any) -> None:
    """
    --help names every flag and every variable.
    """
    done = subprocess.run(
        [BIN / program, "--help"], env=tree_environment(), capture_output=True, text=True, timeout=30, check=True
    )
    words = done.stdout.replace("[", " ").replace("]", " ").replace(",", " ").split()
    prefix = "OMEN" if program == "omen-server" else "RISKCAST"
    for name in model.model_fields:
        assert f"{prefix}_{name.upper()}" in words
        assert (f"--{name.replace('_', '-')}" in words) == (name != "api_keys")
    assert done.stderr == ""
