"""Owns the soak's sequential test: is a version worse on real traffic than the one before it. Pure.

Wald's sequential probability ratio test (A. Wald, Sequential Analysis, 1947) of "the failures come as often as before
or more" against "they come at most a tenth as often": it may be looked at after every turn without inflating its error.
"""

from math import log

ALPHA = 0.05
BETA = 0.05
REMAINING = 0.1
"""the share of failures that a version which works may still show"""
FLOOR = 0.01
"""the rate of failures that is assumed where fewer were seen before: rare failures need several to come back"""


def worse(turns: int, recurred: int, turns_before: int, failed_before: int) -> str | None:
    """Why the version is taken back, None while it is not shown to be worse.

    `recurred` of `turns` since the switch failed as the batch did, `failed_before` of `turns_before` before it.
    """
    if recurred == 0 or turns <= 0:
        return None
    before = min(0.95, max(FLOOR, failed_before / max(turns_before, 1)))
    after = before * REMAINING
    fine = max(0, turns - recurred)
    ratio = recurred * log(before / after) + fine * log((1 - before) / (1 - after))
    if ratio >= log((1 - BETA) / ALPHA):
        return f"the failure came back in {recurred} of {turns} turns, before in {failed_before} of {turns_before}"
    return None
