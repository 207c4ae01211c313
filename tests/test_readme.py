"""
The blocks of the README and of docs/calling.md are run as they stand, only with the ports that were free.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.node import has_npm
from tests.processes import tree_environment

BLOCK = re.compile(
    r"(?:^<!-- test: (?P<how>[a-z0-9 ]+) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
PORT = re.compile(r"127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Block:
    """
    One fenced block and what is to be done with it.
    """

    how: str
    kind: str
    text: str


def blocks(root: Path, page: str = "README.md") -> Iterator[Block]:
    """
    Yield a page's blocks in order.
    """
    for match in BLOCK.finditer((root / page).read_text()):
        yield Block(match["how"] or "", match["kind"], match["text"])


def environment() -> dict[str, str]:
    """
    Return a user's environment in which this tree's programs are on the path; `make test` itself leaves no trace.
    """
    inherited = {key: value for key, value in tree_environment().items() if not key.startswith("MAKE")}
    return inherited | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@dataclass
class Running:
    """
    What `make up` printed, and the ports it took.
    """

    banner: list[str]
    omen: str
    riskcast: str
    reconciler: str
    console: str | None
    data_dir: Path

    def translate(self, text: str) -> str:
        """
        Return *text* with the README's ports replaced by those in use.
        """
        for usual, own in (
            ("50051", self.omen),
            ("50052", self.riskcast),
            ("50053", self.reconciler),
            ("8080", self.console),
        ):
            text = text.replace(f":{usual}", f":{own or usual}")
        return text


@pytest.fixture
async def up(root: Path, tmp_path: Path) -> AsyncIterator[Running]:
    """
    Run the README's `make up` with free ports and a directory of its own.
    """
    serve = next(block for block in blocks(root) if block.how == "serve")
    assert serve.text == "make up\n"
    process = await asyncio.create_subprocess_exec(
        "make",
        "up",
        f"ARGS=--port 0 --metrics-port 0 --console-port 0 --data-dir {tmp_path}/.omen",
        cwd=root,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    banner: list[str] = []
    try:
        async with asyncio.timeout(40):
            while not (banner and "Ctrl-C" in banner[-1]):
                line = (await process.stdout.readline()).decode()
                assert line, "make up ended before its banner"
                banner.append(line.rstrip("\n"))
        omen, riskcast, reconciler = (PORT.findall(line)[0] for line in banner[1:4])
        console = next((PORT.findall(line)[0] for line in banner if line.startswith("  Console")), None)
        yield Running(banner, omen, riskcast, reconciler, console, tmp_path / ".omen")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def run(root: Path, up: Running, *command: str) -> tuple[int, str]:
    """
    Run one command in the project's directory and return its code and output.
    """
    ports = {
        "OMEN_ADDRESS": f"127.0.0.1:{up.omen}",
        "RISKCAST_ADDRESS": f"127.0.0.1:{up.riskcast}",
        "RECONCILER_ADDRESS": f"127.0.0.1:{up.reconciler}",
        "OMEN_DATA_DIR": str(up.data_dir),
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=root,
        env=environment() | ports,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.mark.timeout(240)
async def test_every_block_of_the_readme_does_what_it_says(root: Path, up: Running) -> None:
    """
    Each shell and Python block runs and ends as the page promises, with the servers of `make up` running.
    """
    ran = 0
    for block in (*blocks(root), *blocks(root, "docs/calling.md")):
        shown = block.kind == "text" or block.how in {"serve", "terminals"}
        if shown or (block.how == "node" and not has_npm()):
            continue
        text = up.translate(block.text)
        expected = int(block.how.removeprefix("fails ")) if block.how.startswith("fails ") else 0
        command = {"sh": ("bash", "-euo", "pipefail", "-c", text), "python": (sys.executable, "-c", text)}[block.kind]
        code, output = await run(root, up, *command)
        assert code == expected, f"{block.text}\n→ {code}\n{output}"
        assert output.strip() or "protoc" in text, f"{block.text}\nprinted nothing"
        ran += 1
    assert ran >= 15


async def test_the_three_servers_start_by_hand(root: Path, tmp_path: Path) -> None:
    """
    The README's lines for three terminals start three servers, each with nothing but its name.
    """
    (lines,) = (block.text.splitlines() for block in blocks(root) if block.how == "terminals")
    assert len(lines) == 3
    for line in lines:
        program, *arguments = line.split()
        own = dict.fromkeys((f"{each}_LISTEN" for each in ("OMEN", "RISKCAST", "RECONCILER")), "127.0.0.1:0")
        ports = dict.fromkeys((f"{each}_METRICS_PORT" for each in ("OMEN", "RISKCAST", "RECONCILER")), "0")
        process = await asyncio.create_subprocess_exec(
            program, *arguments, cwd=tmp_path, env=environment() | own | ports, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(30):
                while b'"serving"' not in (said := await process.stderr.readline()):
                    assert said, f"{line} ended"
        finally:
            process.terminate()
            await process.communicate()
        assert process.returncode == 0


async def test_the_readme_shows_the_banner_that_make_up_prints(root: Path, up: Running, tmp_path: Path) -> None:
    """
    The banner in the README is the literal one, but for ports, the directory, and where the other ports are.
    """
    shown = next(block.text for block in blocks(root) if block.how == "banner").splitlines()
    # Where to find servers that are elsewhere is said only of those that are.
    printed = [line.replace(f"{tmp_path}/", "./") for line in up.banner if not line.startswith("  Elsewhere")]
    assert [squeeze(up.translate(line)) for line in shown] == [squeeze(line) for line in printed]


def squeeze(line: str) -> str:
    """
    Return *line* with runs of blanks as one: a port of another length moves the columns.
    """
    return " ".join(line.split())


def test_the_readme_is_short(root: Path) -> None:
    """
    Nobody reads more than 250 lines.
    """
    assert len((root / "README.md").read_text().splitlines()) <= 250
