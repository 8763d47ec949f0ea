"""What a source owes survives any death, and a file that is not its checkpoint is refused with one line."""

import contextlib
import json
import subprocess
import sys
import time
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint, CheckpointError, Progress, Recipe, path_of
from tickerd.schedule import Rates, Segment

RECIPE = Recipe(1, "default", "0123456789abcdef", "json", 1, 1)
SOURCE = "host-0-abcdefgh"


def state(lowest: int = 100, begun_below: int = 120, rates: Rates | None = None) -> Checkpoint:
    segment = Segment(100, 0, rates or Rates(160_000, 160_000, 0), "digest")  # 20 records a frame
    return Checkpoint(
        source=SOURCE,
        recipe=RECIPE,
        first_frame=100,
        lowest_unacknowledged=lowest,
        begun_below=begun_below,
        segments=[segment],
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    return path_of(tmp_path, SOURCE)


def test_what_is_written_is_read_back(path: Path) -> None:
    checkpoint.write(path, state())
    assert checkpoint.read(path) == state()
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no temporary file stays


def test_a_reader_sees_the_old_file_or_the_new_one_while_a_writer_is_killed_again_and_again(
    path: Path,
) -> None:
    checkpoint.write(path, state())
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; import test_checkpoint as t;"
        "n = 120\n"
        "while True: t.checkpoint.write(Path(sys.argv[1]), t.state(begun_below=n)); n += 1"
    )
    seen = set()
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", program, str(path), str(Path(__file__).parent)])
        deadline = time.monotonic() + 30
        before = checkpoint.read(path)
        while checkpoint.read(path) == before and time.monotonic() < deadline:
            pass
        writer.kill()
        writer.wait()
        seen.add(checkpoint.read(path).begun_below)
    assert len(seen) > 1


def damaged(path: Path, change: dict[str, object]) -> None:
    """The checkpoint with other values and a sum that fits them: somebody's, but not this source's."""
    values = json.loads(msgspec.json.encode(state())) | change
    encoded = json.dumps(values, separators=(",", ":")).encode()
    path.write_bytes(b'{"checkpoint":' + encoded + b',"crc32":%d}' % zlib.crc32(encoded))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "other-0-abcdefgh"}, "not the checkpoint of"),
        ({"version": 2}, "of version 2"),
        ({"begun_below": 99}, "not the checkpoint of"),
        ({"lowest_unacknowledged": 5}, "before the first segment"),
        ({"segments": []}, "needs a segment"),
        ({"recipe": {}}, "not a checkpoint"),
    ],
)
def test_a_foreign_checkpoint_is_refused_in_one_line(
    path: Path, change: dict[str, object], reason: str
) -> None:
    damaged(path, change)
    with pytest.raises(CheckpointError, match=reason) as refused:
        checkpoint.read(path)
    assert str(path) in str(refused.value)
    assert "move it away" in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.data())
def test_any_damaged_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("state") / f"{SOURCE}.json"
    checkpoint.write(path, state())
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(1, 255))
    content[at] ^= flip
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        assert checkpoint.read(path) == state()  # some bytes may change without harm


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"checkpoint":{},"crc32":0}', b"\x00" * 500])
def test_what_is_no_checkpoint_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="move it away"):
        checkpoint.read(path)


def test_an_unreadable_checkpoint_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.read(path)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_the_lowest_frame_is_the_first_that_misses_a_record(counts: list[int], random: object) -> None:
    """Records acknowledged one by one in any order, against a plain count."""
    progress = Progress(state(begun_below=100))
    missing = {}
    for number, records in enumerate(counts):
        progress.begin(100 + number, records)
        missing[100 + number] = records
    acknowledgements = [frame for frame, records in missing.items() for _ in range(records)]
    random.shuffle(acknowledgements)  # type: ignore[attr-defined]
    for frame in acknowledgements:
        progress.acknowledge(frame, 1)
        missing[frame] -= 1
        owing = [each for each, records in missing.items() if records]
        assert progress.lowest_unacknowledged == min(owing, default=100 + len(counts))
        assert progress.owed == sum(missing.values())


def test_an_acknowledgement_too_many_is_an_error_of_ours() -> None:
    progress = Progress(state())
    progress.begin(100, 2)
    with pytest.raises(ValueError, match="1 more acknowledgements than records"):
        progress.acknowledge(100, 3)


def test_the_reserved_bound_falls_only_at_the_end_and_never_below_what_may_have_begun() -> None:
    progress = Progress(state(lowest=100, begun_below=100))
    progress.begun_below = 133  # reserved
    for frame in range(100, 110):
        progress.begin(frame, 20)
    assert progress.snapshot(120).begun_below == 133
    assert progress.release().begun_below == 110


def test_what_was_planned_beyond_the_last_frame_is_forgotten_at_the_end() -> None:
    progress = Progress(state(lowest=100, begun_below=100))
    for first_frame, milli in ((105, 1000), (109, 2000), (110, 3000), (130, 4000)):
        progress.timeline.append(first_frame, Rates(milli, 0, 0), "digest")
    progress.begun_below = 133  # reserved
    for frame in range(100, 110):
        progress.begin(frame, sum(progress.timeline.segment(frame).counts(frame)))
    assert [each.first_frame for each in progress.release().segments] == [100, 105, 109]


def test_a_process_that_ends_early_leaves_what_the_one_before_may_have_begun() -> None:
    progress = Progress(state(lowest=100, begun_below=120))
    progress.begin(100, 20)
    progress.acknowledge(100, 20)
    last = progress.release()
    assert (last.lowest_unacknowledged, last.begun_below) == (101, 120)
    assert last.owes


def test_frames_without_records_owe_nothing() -> None:
    assert not state(rates=Rates(0, 0, 0)).owes
    assert state().owes
    assert not state(lowest=120).owes


def test_a_skip_leaves_no_gap_in_seq() -> None:
    progress = Progress(state(lowest=120, begun_below=120))
    progress.skip(500, Rates(16_000, 0, 0), "digest")
    timeline = progress.timeline
    assert timeline.seq(120) == timeline.seq(500) == 400
    assert timeline.seq(501) == 401
    assert timeline.after_quiet(120) == 500
