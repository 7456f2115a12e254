"""Grades a trial from its state alone: is this report on the agent's desk, with words in it?

    python written.py STATE NAME

Exit 0 when it is, 1 when it is not, 2 when it is called wrongly. Imports nothing of Hermes.
"""

import re
import sys
from pathlib import Path


def main(words: list[str]) -> int:
    if len(words) != 2:
        print("usage: written.py STATE NAME", file=sys.stderr)
        return 2
    path = Path(words[0]) / "desk" / "reports" / f"{re.sub(r'[^A-Za-z0-9_]', '', words[1])}.md"
    there = not path.is_symlink() and path.is_file() and path.stat().st_size > 0
    print(f"{path.name} is {'' if there else 'not '}written")
    return 0 if there else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
