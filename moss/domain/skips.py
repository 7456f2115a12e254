"""Owns how a test is left out, in the test frameworks one meets: the markers an added test must not hold."""

import re
from collections.abc import Iterable

MARKERS = re.compile(
    r"""
    pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b   # Python
    | @(?:unittest\.)?(?:skip|skipIf|skipUnless|expectedFailure)\b
    | \.skipTest\(| \bSkipTest\b | \bcollect_ignore\b | __test__\s*=\s*False
    | \b(?:it|test|describe|suite|context)\.(?:skip|todo|only|failing)\b | \bx(?:it|describe|test)\(   # JavaScript
    | @(?:Disabled|Ignore)\b   # Java, Kotlin
    | \bt\.Skip(?:f|Now)?\(   # Go
    | \#\[ignore   # Rust
    | \bSkip\s*=\s*"   # C#
    """,
    re.VERBOSE,
)


def skips_test(lines: Iterable[str]) -> str | None:
    """The first marker in `lines` that leaves a test out, None without."""
    return next((found[0] for line in lines if (found := MARKERS.search(line))), None)
