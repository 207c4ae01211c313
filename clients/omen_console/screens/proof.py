import asyncio
from collections.abc import Sequence

from starlette.requests import Request

from omen.v1.ledger_service_pb2 import RawFrame, VerifyPartitionResponse
from omen_client import OmenClient
from omen_console import shown
from omen_console.console import Console
from omen_console.page import Page
from omen_console.screens.common import asked, asked_number, at_a_glance
from omen_console.specimen import Experiment, NothingToCopy, flip, truncate
from omen_console.upstream import Answer
from omen_rpc.fields import is_partition

FRAMES_SHOWN = 12
COPIED_MAX = 200
CALLS_MAX = 4
DUMPED_BYTES_MAX = 2048
CUT_BYTES = 7
VERIFY_TIMEOUT_S = 10.0
INDEX_MAX = 1 << 62


async def screen(console: Console, request: Request) -> Page:
    """
    Show frames as they lie on disk, and what becomes of a copy that is cut or changed.

    All of it is in the address and changes nothing, so it can be linked to, and works on a read-only console.
    """
    up, do = console.upstream, asked(request, "do")
    reading = await console.pulse.read()
    day = reading.day.value
    partition = asked(request, "partition") or (day.partition if day is not None else "")
    context = {**at_a_glance(console, reading), "partition": partition, "day": day}
    if not is_partition(partition):
        return Page("no_partition.html", {**context, "day_answer": reading.day}, 404 if partition else 200)
    after = asked_number(request, "after", 0, 0, INDEX_MAX)
    dumped, copied, verdict = await asyncio.gather(
        up.ask("omen", up.omen.frames(partition, after_index=after, max_frames=FRAMES_SHOWN)),
        up.ask("omen", copied_frames(up.omen, partition)) if do in {"truncate", "flip"} else nothing(console),
        up.ask("omen", verified(up.omen, partition), timeout_s=VERIFY_TIMEOUT_S)
        if do == "verify"
        else nothing(console),
    )
    if dumped.is_missing:
        return Page("no_partition.html", context, 404)
    frames = dumped.value.frames if dumped.value is not None else []
    index = asked_number(request, "frame", frames[0].ledger_index if frames else 1, 1, INDEX_MAX)
    frame = next((each for each in frames if each.ledger_index == index), frames[0] if frames else None)
    experiment, problem = await tried(request, do, partition, copied, index)
    return Page(
        "proof.html",
        {
            **context,
            "dumped": dumped,
            "frames": frames,
            "frame": frame,
            "lines": shown.hexdump((frame.header + frame.payload)[:DUMPED_BYTES_MAX]) if frame is not None else [],
            "stated": stated(frame),
            "after": after,
            "previous": max(0, after - FRAMES_SHOWN),
            "do": do,
            "copied": copied,
            "experiment": experiment,
            "problem": problem,
            "verdict": verdict,
            "cut": asked_number(request, "cut", CUT_BYTES, 1, 1 << 20),
            "byte": asked_number(request, "byte", 64, 0, 1 << 20),
            "bit": asked_number(request, "bit", 0, 0, 7),
            "copied_max": COPIED_MAX,
        },
    )


async def tried(
    request: Request, do: str, partition: str, copied: Answer[Sequence[RawFrame] | None], index: int
) -> tuple[Experiment | None, str]:
    """
    Do to a copy what the address says, and return what came of it, or why it could not be done.
    """
    if do not in {"truncate", "flip"} or copied.value is None:
        return None, ""
    cut = asked_number(request, "cut", CUT_BYTES, 1, 1 << 20)
    byte, bit = asked_number(request, "byte", 64, 0, 1 << 20), asked_number(request, "bit", 0, 0, 7)
    try:
        if do == "truncate":
            return await asyncio.to_thread(truncate, partition, copied.value, cut), ""
        return await asyncio.to_thread(flip, partition, copied.value, index, byte, bit), ""
    except NothingToCopy as error:
        return None, str(error)


async def copied_frames(omen: OmenClient, partition: str) -> Sequence[RawFrame]:
    """
    Return a partition's first frames, as many as a specimen may have.
    """
    frames: list[RawFrame] = []
    after = 0
    for _ in range(CALLS_MAX):
        reply = await omen.frames(partition, after_index=after, max_frames=COPIED_MAX - len(frames))
        frames += reply.frames
        after = reply.next_after_index
        if not after or len(frames) >= COPIED_MAX:
            break
    return frames


async def verified(omen: OmenClient, partition: str) -> VerifyPartitionResponse.Verdict | None:
    """
    Return what the server's own verification of a partition says.
    """
    verdict = None
    async for found in omen.verify(partition):
        if isinstance(found, VerifyPartitionResponse.Verdict):
            verdict = found
    return verdict


async def nothing(console: Console) -> Answer[None]:
    """
    Return no answer, to what was not asked.
    """
    return Answer(None, console.upstream.now())


def stated(frame: RawFrame | None) -> tuple[int, int]:
    """
    Return the length and the checksum that a frame's header states.
    """
    if frame is None or len(frame.header) < 8:
        return 0, 0
    return int.from_bytes(frame.header[:4]), int.from_bytes(frame.header[4:8])
