"""A process that appends to a store until it is killed, and says on its standard output what it was promised.

    python writer.py HOME OWNER RUN PEAK

`claimed OWNER` when it got the run; `SEQ` after each entry that `append` returned; `lost` when its claim was lost.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from moss.adapters.stores.sql import SqlStore
from moss.domain.ids import BatchId, RunId
from moss.errors import ClaimLost, SeqTaken
from moss.ports import Head


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def main(home: str, owner: str, run: str, peak: str) -> None:
    head = Head("clerk", BatchId("b"), "l", "plan", None)
    with SqlStore.open(Path(home), RealClock()) as store:
        while (claim := store.claim(RunId(run), owner, 0.5)) is None:
            time.sleep(0.01)
        print("claimed", owner, flush=True)
        try:
            while True:
                row = store.run(RunId(run))
                seq = row.seq + 1 if row else 1
                if seq > int(peak):
                    store.release(claim)
                    return
                store.append(RunId(run), seq, datetime.now(UTC), "k", {"by": owner, "n": seq}, head, claim)
                print(seq, flush=True)
                claim = store.renew(claim, 0.5)
        except (ClaimLost, SeqTaken) as error:
            print("lost", type(error).__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
