"""What `verify` takes for the account that a daemon left, and what it refuses."""

from pathlib import Path

import pytest

from tickerd.reading import ReadingError
from tickerd.reading.account_file import load_account


def test_an_account_is_read_with_fields_unknown_today(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text(
        '{"settings_digest":"d","written_by":"later","sources":[{"source":"h-0-abcdefgh","first_seq":3,'
        '"next_seq":9,"first_time":"2026-11-24T16:00:00Z","segments":[{"first_frame":1,"first_seq":0,'
        '"milli_records_per_second":{"forex":1,"stock":2,"news":3},"digest":"x"}],'
        '"owed":[{"first_frame":1,"end_frame":2,"first_seq":5,"next_seq":7,"why":"?"}]}]}'
    )
    (source,) = load_account(path).sources
    assert source.acknowledged() == [(3, 5), (7, 9)]
    assert source.segments[0].milli_records_per_second.news == 3


def test_a_source_that_made_nothing_has_no_first_time(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text(
        '{"settings_digest":"d","sources":[{"source":"s","first_seq":0,"next_seq":0,"first_time":null}]}'
    )
    assert load_account(path).sources[0].acknowledged() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"settings_digest":"d"}',
        b'{"settings_digest":"d","sources":[{"source":"s"}]}',
        b'{"settings_digest":"d","sources":[{"source":"s","first_seq":-1,"next_seq":0}]}',
        b'{"settings_digest":"d","sources":[{"source":"s","first_seq":2,"next_seq":1}]}',
        b'{"settings_digest":"d","sources":[%b,%b]}' % ((b'{"source":"s","first_seq":0,"next_seq":0}',) * 2),
        b'{"settings_digest":"\xff","sources":[]}',
    ],
)
def test_a_file_that_is_no_account_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "account.json"
    path.write_bytes(content)
    with pytest.raises(ReadingError, match=r"^account [^\n]*account\.json[^\n]*$"):
        load_account(path)


def test_an_account_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadingError, match="No such file"):
        load_account(tmp_path / "account.json")
