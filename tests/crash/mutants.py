"""
Seeded bugs. Each is one change of the ledger's own source; a harness that does not notice one is not to be believed.

`explorer` says that the crash explorer must notice, any other killer is the name of a test that must.
"""
# ruff: noqa: E501 - a mutant is a line of source, as long as it is.

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from omen_server.ledger import durable, journal, lifecycle, partition, reader, recovery, seal, segment, tear
from omen_server.ledger import format as formats

if TYPE_CHECKING:
    from types import FunctionType


@dataclass(frozen=True, slots=True)
class Mutant:
    """
    One bug: in which function, which words become which, and who must notice.
    """

    name: str
    function: Callable[..., object]
    old: str
    new: str
    killer: str = "explorer"


@contextmanager
def alive(mutant: Mutant) -> Iterator[None]:
    """
    Put the bug into the running code, and take it out again.
    """
    function = cast("FunctionType", mutant.function)
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(mutant.old) != 1:
        raise LookupError(f"{mutant.name}: {mutant.old!r} is there {source.count(mutant.old)} times")
    made: dict[str, FunctionType] = {}
    code = compile(source.replace(mutant.old, mutant.new), mutant.name, "exec", dont_inherit=True)
    exec(code, function.__globals__, made)  # noqa: S102 - the project's own source with one word changed.
    original = function.__code__
    function.__code__ = made[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = original


J, R, T = journal.Journal, recovery, tear

MUTANTS = (
    # Durability of records.
    Mutant(
        "pushed before the sync",
        J._write,
        "    settle_data(self._disk, tail.fd)\n",
        "    self.durable_offset = group.positions[-1].offset\n    settle_data(self._disk, tail.fd)\n",
    ),
    Mutant("no sync of a group", J._write, "    settle_data(self._disk, tail.fd)\n", ""),
    Mutant(
        "a sync for every second group",
        J._write,
        "    settle_data(self._disk, tail.fd)\n",
        "    group.positions[0].offset % 2 and settle_data(self._disk, tail.fd)\n",
    ),
    Mutant(
        "a failed sync is tried again",
        durable.settle_data,
        "        raise SyncFailed(error) from error",
        "        disk.sync_data(fd)",
    ),
    Mutant("a short write is ignored", durable.write_all, "    while rest:\n", "    if rest:\n"),
    Mutant(
        "the counters move although the write failed",
        J._write,
        "        if error.errno != errno.EIO:\n",
        "        tail.index += 1\n        tail.size_bytes += 9\n        if error.errno != errno.EIO:\n",
    ),
    Mutant(
        "a failed write is not taken back",
        J._write,
        "            self._take_back(tail, tail.fd)\n",
        "            pass\n",
    ),
    Mutant("what was taken back is not synced", durable.cut, "    settle_data(disk, fd)\n", "    pass\n"),
    Mutant("EIO does not poison", J.fail, "isinstance(cause, SyncFailed) or cause.errno == errno.EIO", "False"),
    # Durability of names.
    Mutant("no directory sync", durable.SyncedDirectory.__exit__, "if error is None:", "if False:"),
    Mutant("renamed before it is synced", durable.replace_file, "            settle(disk, fd)\n", "            pass\n"),
    Mutant(
        "overwritten in place instead of replaced",
        durable.replace_file,
        "temporary = path + TEMPORARY",
        "temporary = path",
    ),
    Mutant(
        "a new segment's name is not synced",
        durable.create_file,
        'SyncedDirectory(disk, path.rpartition("/")[0]), ',
        "",
    ),
    Mutant(
        "a new partition's name is not synced",
        durable.make_directory,
        "    with SyncedDirectory(disk, parent):\n",
        "    if True:\n",
    ),
    Mutant(
        "the removal overtakes the compressed copy",
        lifecycle._compress,
        "        replace_file(disk, path + COMPRESSED, gzip.compress(data, 6, mtime=0))\n",
        "        remove_file(disk, path)\n        replace_file(disk, path + COMPRESSED, gzip.compress(data, 6, mtime=0))\n",
    ),
    # Recovery.
    Mutant(
        "the torn tail stays before the next append", T.TailScan.cut_at, "self.data = self.data[: damage.start]", "pass"
    ),
    Mutant("the tail is not rewritten", R._rewrite, "    if tail.ordinal:\n", "    if False:\n"),
    Mutant(
        "the tail is scanned and synced instead of rewritten",
        R._rewrite,
        "        replace_file(",
        '        fd = disk.open(f"{tail.files.directory}/{tail.files.segments[tail.ordinal]}", create=False)\n        disk.truncate(fd, len(tail.data))\n        disk.sync(fd)\n        disk.close(fd)\n        len and (lambda *_: None)(',
    ),
    Mutant(
        "appending goes on at the wrong byte",
        R._open_tail,
        "len(tail.data), record",
        "max(0, len(tail.data) - 1), record",
    ),
    Mutant(
        "an ordinal is used twice", J._start_segment, "ordinal = tail.ordinal + 1", "ordinal = max(1, tail.ordinal)"
    ),
    Mutant(
        "a position is used twice",
        R._open_tail,
        "record, index, offset, written_at",
        "record, max(0, index - 1), offset, written_at",
    ),
    Mutant(
        "an offset is used twice",
        J.__init__,
        "recovered.last_offset",
        "max(0, recovered.last_offset - 1)",
    ),
    Mutant(
        "the newest segment is not looked at",
        segment.segment_files,
        "    return dict(sorted(found.items()))",
        "    return dict(sorted(found.items())[:max(1, len(found) - 1)])",
    ),
    # Seals.
    Mutant(
        "_SEALED before the manifest",
        seal._vouch,
        "    data = manifest.encode()\n",
        '    data = manifest.encode()\n    replace_file(disk, f"{directory}/{SEALED}", encode_seal(manifest.manifest_revision, data))\n',
    ),
    Mutant("appending goes on behind the seal", J.route, "if tail is not None and tail.sealed:", "if False:"),
    Mutant(
        "a seal that was given up is finished",
        seal.finish,
        "not is_late(name) and files.last_ordinal > manifest.last_ordinal",
        "False",
        "test_fault_at_every_call",
    ),
    Mutant(
        "a failed roll keeps its day open",
        seal.seal,
        "if is_late(name):",
        "if True:",
        "test_roll_that_failed_is_sealed_with_its_day",
    ),
    Mutant(
        "a late revision forgets the earlier records",
        seal._state,
        "found = tally(Walk(disk, files,",
        "found = tally(Walk(disk, replace(files, segments=dict(list(files.segments.items())[-1:])),",
        "test_sealed_late_partition_takes_more_in_a_new_revision",
    ),
    Mutant(
        "an interrupted seal is not finished",
        seal.finish,
        "    if manifest is None:\n",
        "    if True:\n",
        "test_manifest_without_its_seal_is_nobodys_word",
    ),
    Mutant(
        "a manifest counts without its seal",
        partition.read_partition_files,
        "trusted_manifest(disk, directory) if present else None",
        'Manifest.decode(disk.read(f"{directory}/_manifest.json"))',
        "test_manifest_without_its_seal_is_nobodys_word",
    ),
    # Classification.
    Mutant(
        "a length of zero is legal",
        formats.read_frame,
        "if not 1 <= length <= PAYLOAD_BYTES_MAX",
        "if not 0 <= length <= PAYLOAD_BYTES_MAX",
        "test_zero_filled_space_is_no_record",
    ),
    Mutant(
        "checksums are not compared",
        formats.read_frame,
        "crc32(payload) != checksum",
        "False",
        "test_flip_in_an_open_partition_costs_one_named_record",
    ),
    Mutant(
        "no resync after damage",
        formats._find_frame,
        '    while (at := data.find(b"\\x00", at)) >= 0:\n',
        "    while (at := -1) >= 0:\n",
        "test_flip_in_an_open_partition_costs_one_named_record",
    ),
    Mutant(
        "every damage at the end is a torn tail",
        formats.looks_torn,
        "    return short or _holds_lost_sector(data, damage)",
        "    return True",
        "test_flip_in_an_open_partition_costs_one_named_record",
    ),
    Mutant(
        "a flipped last length is a torn tail",
        formats.looks_torn,
        "        return False\n",
        "        pass\n",
        "test_flip_in_an_open_partition_costs_one_named_record",
    ),
    Mutant("only short files are torn", formats.looks_torn, "short or _holds_lost_sector(data, damage)", "short"),
    Mutant(
        "a few lost bytes are no lost sector",
        formats.looks_torn,
        " or _lost_its_end(data, damage)",
        "",
        "test_last_bytes_that_never_arrived_are_a_tear",
    ),
    Mutant(
        "any zeros at the end are a lost sector",
        formats._lost_its_end,
        "data.count(0, edge, end) == end - edge",
        "data[end - 1] == 0",
        "test_last_byte_of_a_sector_that_arrived_is_no_tear",
    ),
    Mutant(
        "a proven record may be cut", T._same_group, "return lost < rank and ", "return True or ", "test_damage_table"
    ),
    Mutant("two torn tails are cut", T.find_tears, "> 1", "> 9", "test_two_torn_tails_are_corruption"),
    Mutant(
        "another partition's proof is not asked",
        T.find_tears,
        "tear is not None and _proven_lost",
        "False and _proven_lost",
        "test_tail_that_a_later_record_proves_is_not_cut",
    ),
    Mutant(
        "a seal proves nothing",
        T._proven_lost,
        "counted + manifest.last_ledger_index, max(newest, manifest.last_offset)",
        "counted, newest",
        "test_tail_that_a_later_seal_proves_is_not_cut",
    ),
    Mutant(
        "deleted days pass for lost records",
        T._proven_lost,
        "if manifest is not None and _first_offset(manifest) > after:",
        "if False:",
        "test_tear_behind_a_deleted_day_is_a_tear",
    ),
    Mutant(
        "positions of a deleted late partition are used again",
        T.scan_tail,
        "if before is None and files.manifest is not None:",
        "if False:",
        "test_positions_go_on_behind_a_deleted_late_partition",
    ),
    Mutant(
        "no positions are skipped",
        R._skipped,
        "+ 1) * settings.skip_records",
        "+ 1) * 0",
        "test_flip_in_an_open_partition_costs_one_named_record",
    ),
    Mutant(
        "the gap is not kept",
        partition.write_gaps,
        "    replace_file(disk,",
        "    (lambda *_: None)(disk,",
        "test_damage_at_the_end_skips_positions_once",
    ),
    Mutant(
        "the torn bytes are thrown away",
        R._quarantine,
        '    replace_file(disk, f"{kept}.bytes", torn)\n',
        "",
        "test_torn_tail_then_three_more",
    ),
    # Reading.
    Mutant(
        "gaps are passed over in silence",
        reader.Walk.__iter__,
        "yield self._gap_before(item, expected)",
        "pass",
        "test_flip_in_an_open_partition_costs_one_named_record",
    ),
    Mutant(
        "damage behind the last record is silent",
        reader.Walk._end,
        "    if expected == 0 or ",
        "    if True or expected == 0 or ",
        "test_flip_in_an_open_partition_costs_one_named_record",
    ),
    Mutant(
        "readers look beyond the watermark",
        J._write,
        "    self.limits[tail.partition] = _limit(tail)\n",
        "    self.limits[tail.partition] = Limit(1 << 62, 1 << 62, tail.index)\n",
        "test_readers_stop_at_the_watermark",
    ),
)
