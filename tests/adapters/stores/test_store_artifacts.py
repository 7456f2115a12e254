"""Artifacts on the disk: what is damaged, missing or left over."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.errors import StoreBroken, UserError

FOREVER = datetime(2100, 1, 1, tzinfo=UTC)


def test_an_artifact_that_was_changed_is_damage_and_not_an_answer(store: SqlStore) -> None:
    digest = store.put(b"the diff", "patch")
    store.artifact_path(digest).write_bytes(b"a DIFF!!")
    with pytest.raises(StoreBroken, match="not those that were stored"):
        store.get(digest)
    assert store.put(b"the diff", "patch") == digest
    assert store.get(digest) == b"the diff"


def test_an_artifact_whose_file_went_away_is_damage(store: SqlStore) -> None:
    digest = store.put(b"x", "log")
    store.artifact_path(digest).unlink()
    with pytest.raises(StoreBroken, match="file is gone"):
        store.get(digest)


@pytest.mark.parametrize("name", ["../../etc/passwd", "sha256:../../x", "sha256:" + "G" * 64, "", "sha256:" + "a" * 63])
def test_a_text_that_is_no_digest_names_no_file(store: SqlStore, name: str) -> None:
    with pytest.raises(UserError, match="not a digest"):
        store.artifact_path(Digest(name))


def test_a_write_leaves_no_draft_behind(store: SqlStore, home: Path) -> None:
    store.put(b"x", "log")
    store.put(b"x", "log")
    assert len([path for path in (home / "artifacts").rglob("*") if path.is_file()]) == 1


def test_retention_sweeps_what_a_crash_left_between_file_and_row(store: SqlStore) -> None:
    kept = store.put(b"kept", "log")
    orphan = store.artifact_path(Digest(sha256(b"orphan")))
    draft = store.artifact_path(kept).with_name(".draft.1234")
    for path in (orphan, draft):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"orphan")
        os.utime(path, (0, 0))
    assert store.drop_artifacts(FOREVER, keep=[kept]) == 0
    assert not orphan.exists()
    assert not draft.exists()
    assert store.get(kept) == b"kept"


def test_a_file_that_another_process_is_writing_is_not_swept(store: SqlStore, clock: object) -> None:
    fresh = store.artifact_path(Digest(sha256(b"fresh")))
    fresh.parent.mkdir(parents=True)
    fresh.write_bytes(b"fresh")
    store.drop_artifacts(datetime(2020, 1, 1, tzinfo=UTC), keep=[])
    assert fresh.exists()
