"""The account that the daemon leaves at exit (`account.json`): per source, what it made and still owes."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from tickerd.checkpoint import Recipe
from tickerd.reading import ReadingError
from tickerd.schedule import Segment

Seq = Annotated[int, msgspec.Meta(ge=0, lt=2**63 - 1)]


class Owed(msgspec.Struct, frozen=True):
    """Frames that were begun and not wholly acknowledged: [first_frame, end_frame), [first_seq, next_seq)."""

    first_frame: int
    end_frame: int
    first_seq: Seq
    next_seq: Seq


class AccountedSource(msgspec.Struct, frozen=True):
    """One source: it made the seqs [first_seq, next_seq); all but the owed ones were acknowledged."""

    source: str
    first_seq: Seq
    next_seq: Seq
    first_time: datetime | None = None  # of the first record; None when it made none
    segments: tuple[Segment, ...] = ()
    owed: tuple[Owed, ...] = ()
    recipe: Recipe | None = None  # what its records are made of; accounts of older versions do not say

    def acknowledged(self) -> list[tuple[int, int]]:
        """The seqs that must be in the stream, as ascending [start, stop) ranges that do not touch."""
        ranges, start = [], self.first_seq
        for owed in sorted(self.owed, key=lambda owed: owed.first_seq):
            ranges.append((start, min(owed.first_seq, self.next_seq)))
            start = max(start, owed.next_seq)
        ranges.append((start, self.next_seq))
        return [(start, stop) for start, stop in ranges if start < stop]


class Account(msgspec.Struct, frozen=True):
    """The whole file; fields that this version does not know are passed over."""

    settings_digest: str
    sources: tuple[AccountedSource, ...]


def load_account(path: Path) -> Account:
    """Read an account; ReadingError when there is none at `path`, or something else."""
    try:
        account = msgspec.json.decode(path.read_bytes(), type=Account)
    except OSError as error:
        raise ReadingError(f"account {path}: {error.strerror}; give an account.json") from None
    except ValueError as error:  # malformed, mistyped or not UTF-8
        raise ReadingError(f"account {path}: not an account.json of tickerd ({error})") from None
    names = [source.source for source in account.sources]
    if len(names) != len(set(names)):
        raise ReadingError(f"account {path}: names a source twice; give an account.json as tickerd wrote it")
    for source in account.sources:
        if source.next_seq < source.first_seq:
            raise ReadingError(f"account {path}: next_seq of {source.source} lies before its first_seq")
    return account
