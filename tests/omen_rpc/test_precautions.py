from pathlib import Path
from typing import Any

import pytest

from omen_rpc.address import parse_address
from omen_rpc.precautions import check_calling, check_security
from omen_rpc.settings import ServerSettings, SettingsRefused
from omen_rpc.tls import ServerFiles
from omen_server.settings import OmenSettings
from reconciler.settings import ReconcilerSettings

PRODUCTION: dict[str, Any] = {"env": "production", "api_keys": "k"}
SERVED = {"tls_cert": Path("c"), "tls_key": Path("k")}


def checked(model: type[ServerSettings], **settings: Any) -> ServerFiles | None:
    """
    Check the settings of a server.
    """
    chosen = model(**settings)
    return check_security(chosen, parse_address(chosen.listen))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"listen": "0.0.0.0:1"}, r"0\.0\.0\.0:1 is not loopback.* Add --tls-cert FILE --tls-key FILE, or --insecure"),
        ({"listen": ":1"}, "is not loopback"),
        ({"listen": "[::]:1"}, "is not loopback"),
        ({"env": "production"}, "production wants API keys. Add --api-keys-file FILE"),
        ({"tls_cert": Path("c")}, "--tls-cert and --tls-key belong together"),
        ({"tls_key": Path("k")}, "--tls-cert and --tls-key belong together"),
        ({"tls_client_ca": Path("ca")}, "--tls-client-ca needs --tls-cert and --tls-key"),
        (
            {**PRODUCTION, "listen": "0.0.0.0:1", "insecure": True},
            r"does not serve 0\.0\.0\.0:1 in plain text",
        ),
    ],
)
def test_careless_settings_are_refused_with_the_cure(settings: dict[str, Any], says: str) -> None:
    """
    What would serve strangers in plain text, or production without keys, is refused with the flag that mends it.
    """
    with pytest.raises(SettingsRefused, match=says):
        checked(ServerSettings, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"listen": "[::1]:1"},
        {"listen": "unix:/tmp/s"},
        {"listen": "0.0.0.0:1", "insecure": True},
        PRODUCTION,
        {"env": "production", "api_keys_file": Path("/dev/null")},
    ],
)
def test_careful_settings_are_taken(settings: dict[str, Any]) -> None:
    """
    Loopback needs neither TLS nor a key; elsewhere --insecure is enough said, but for production.
    """
    assert checked(ServerSettings, **settings) is None


def test_production_does_not_call_far_servers_in_plain_text() -> None:
    """
    Neither OMEN nor the reconciler carries signals and keys over a network in plain text; the reconciler is told of
    both servers at once, also when it makes one round and serves nobody.
    """
    far = {"riskcast": "riskcast.internal:50052"}
    with pytest.raises(SettingsRefused, match=r"call riskcast\.internal:50052 in plain text\. Add --tls-ca FILE"):
        checked(OmenSettings, **PRODUCTION, **far)
    both = {**PRODUCTION, **far, "omen": "10.0.0.7:50051"}
    with pytest.raises(SettingsRefused, match=r"call 10\.0\.0\.7:50051 .* beside --omen\.\n.* beside --riskcast\.$"):
        checked(ReconcilerSettings, **both)
    with pytest.raises(SettingsRefused, match="beside --omen"):
        check_calling(ReconcilerSettings(**both))
    for fine in ({"riskcast": ""}, {**far, "tls_ca": Path("ca")}, {"riskcast": "unix:/run/riskcast.sock"}):
        assert checked(OmenSettings, **PRODUCTION, **fine) is None
    assert checked(OmenSettings, **far) is None


def test_production_keeps_its_secrets_to_itself(tmp_path: Path) -> None:
    """
    A key that everybody on the machine can read is refused, with the command that mends it, whatever it is for.
    """
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o644)
    for name in ("tls_key", "api_keys_file", "tls_client_key", "omen_api_key_file", "riskcast_api_key_file"):
        settings = {**PRODUCTION, name: key, **({"tls_cert": key} if name == "tls_key" else {})}
        with pytest.raises(SettingsRefused, match=f"unreadable to others: chmod o-rwx {key}"):
            checked(ReconcilerSettings, **settings)
    key.chmod(0o640)
    assert checked(ReconcilerSettings, **PRODUCTION, api_keys_file=key) is None
    assert checked(ServerSettings, **SERVED) == ServerFiles(Path("c"), Path("k"))
