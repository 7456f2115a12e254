"""A backup comes back only where nobody works on the store."""

import os
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.api import asks
from moss.api.around import serve_lock
from moss.api.caller import OPERATOR
from moss.api.operations import RESTORE
from moss.daemon import lock
from moss.errors import Refused
from moss.testing.clock import ManualClock

from .conftest import Front


def test_a_backup_comes_back_when_serve_has_ended_and_not_before(front: Front, tmp_path: Path) -> None:
    with SqlStore.open(tmp_path / "first", ManualClock()) as store:
        store.set_fact("kept", "yes")
        store.backup(tmp_path / "copy")
    home = front.office.wiring.home
    home.mkdir(parents=True, exist_ok=True)
    held = lock.take(serve_lock(home))
    assert held is not None
    ask = asks.Folder(folder=str(tmp_path / "copy"))
    try:
        with pytest.raises(Refused, match="moss serve of this home runs"):
            front.office.ask(OPERATOR, RESTORE, ask)
        assert not (home / "store.db").exists()
    finally:
        os.close(held)
    assert front.office.ask(OPERATOR, RESTORE, ask).runs == 0
    with SqlStore.open(home, ManualClock()) as store:
        assert store.fact("kept") == "yes"
