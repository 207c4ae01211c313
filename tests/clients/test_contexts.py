import json
import stat
from pathlib import Path

import pytest

from omen_cli import contexts, exits
from omen_cli.contexts import Context, Contexts
from omen_cli.options import OMEN, RISKCAST, Servers
from tests.clients.command import Ended, inside, omen


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """
    Return where contexts are kept, in a directory that is not there yet.
    """
    return tmp_path / "config" / "contexts.json"


def test_a_key_in_a_context_is_for_its_owner_only(place: Path) -> None:
    """
    The key comes from stdin, lies in a file of mode 0600 in a directory of mode 0700, and is starred wherever shown.
    """
    flags = ("--contexts-file", str(place))
    added = omen("context", "add", "staging", "--omen", "h:1", "--api-key-stdin", *flags, said="s3cret\n")
    assert added.code == 0, added
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert contexts.read(place).named["staging"].api_key == "s3cret"
    shown = [omen("context", verb, *flags, "-o", form) for verb in ("list", "show") for form in ("text", "json")]
    assert "s3cret" not in "".join(each.out + each.err for each in (added, *shown))
    assert json.loads(shown[-1].out)["api_key"] == "***"
    assert json.loads(shown[1].out)[0]["key"] is True


def test_a_file_that_others_may_read_is_not_read(place: Path) -> None:
    """
    Neither a verb about contexts nor any other goes on with a file of keys that is open to others, or is no such file.
    """
    contexts.write(place, Contexts("a", {"a": Context(omen="127.0.0.1:1")}))
    place.chmod(0o640)
    for line in (("context", "list"), ("stats",)):
        ended = inside(*line, OMEN_CONTEXTS_FILE=str(place))
        assert ended.code == exits.USAGE
        assert f"chmod 600 {place}" in ended.err
    place.chmod(0o600)
    for text in ("{", "[]", '{"current": "a", "contexts": {"a": {"nonsense": 1}}}'):
        place.write_text(text)
        ended = inside("context", "list", OMEN_CONTEXTS_FILE=str(place))
        assert (ended.code, ended.out) == (exits.USAGE, "")
        assert "is no file of contexts" in ended.err


def test_flags_win_over_the_context_and_the_context_over_the_defaults(place: Path) -> None:
    """
    Also a flag that says what the default says; a key on the line replaces the context's; nothing named is current.
    """
    named = {
        "near": Context(omen="near:1", api_key="near-key", tls_ca="/ca.pem", timeout_s=3.0),
        "far": Context(omen="far:1", riskcast="far:2"),
    }
    contexts.write(place, Contexts("near", named))
    current, other = Servers(contexts_file=place), Servers(contexts_file=place, context="far")
    assert (current.context, current.omen, current.riskcast, current.timeout_s) == ("near", "near:1", RISKCAST, 3.0)
    assert (current.key(), current.files() is not None) == ("near-key", True)
    assert (other.omen, other.riskcast, other.key(), other.files()) == ("far:1", "far:2", "", None)
    assert Servers(contexts_file=place, omen=OMEN).omen == OMEN
    key = place.parent / "key"
    assert Servers(contexts_file=place, api_key_file=key).key() == key
    assert "near-key" not in repr(current)


def test_contexts_are_chosen_replaced_and_removed(place: Path, servers: dict[str, str]) -> None:
    """
    The first one is used; use, --context and OMEN_CONTEXT choose another; a second of a name needs --replace.
    """

    def run(*line: str, **environment: str) -> Ended:
        return inside(*line, OMEN_CONTEXTS_FILE=str(place), **environment)

    here_at = servers["OMEN_ADDRESS"]
    assert run("context", "add", "live", "--omen", here_at).code == 0
    assert run("context", "add", "nowhere", "--omen", "127.0.0.1:1").code == 0
    assert run("context", "add", "live", "--omen", "127.0.0.1:1").code == exits.CONFLICT
    assert run("context", "add", "empty").code == exits.USAGE
    assert run("context", "add", "a b", "--omen", "h:1").code == exits.USAGE
    assert run("stats").code == 0
    assert run("stats", "--context", "nowhere").code == exits.UNREACHABLE
    assert run("stats", OMEN_CONTEXT="nowhere").code == exits.UNREACHABLE
    assert run("stats", "--context", "nobody", OMEN_CONTEXT="").code == exits.NOT_FOUND
    assert run("context", "use", "nowhere").code == 0
    assert run("stats").code == exits.UNREACHABLE
    assert run("stats", "--omen", here_at).code == 0
    assert run("context", "add", "nowhere", "--omen", here_at, "--replace").code == 0
    assert run("stats").code == 0
    assert run("context", "remove", "nowhere").code == 0
    assert run("context", "remove", "nowhere").code == exits.NOT_FOUND
    assert contexts.read(place) == Contexts("", {"live": Context(omen=here_at)})
