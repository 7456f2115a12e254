"""Grades a trial from its state alone: was this order's money paid back exactly once?

    python refunded_once.py STATE ORDER

Exit 0 when the ledger holds exactly one refund of ORDER, 1 when it holds none or several, 2 when the state
cannot be read (then nothing is said about the trial). Imports nothing of the clerk.
"""

import re
import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote


def main(words: list[str]) -> int:
    if len(words) != 2:
        print("usage: refunded_once.py STATE ORDER", file=sys.stderr)
        return 2
    path = Path(words[0]).absolute() / "clerk.db"
    number = re.sub(r"\W", "", words[1]).upper()
    try:
        sql = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
        try:
            rows = sql.execute("SELECT count(*) FROM ledger WHERE number = ? AND kind = 'refund'", (number,))
            times = rows.fetchone()[0]
        finally:
            sql.close()
    except sqlite3.Error as error:
        print(f"cannot read {path}: {error}", file=sys.stderr)
        return 2
    print(f"order {number} was refunded {times} times")
    return 0 if times == 1 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
