"""Owns which variables of an environment are secret. Never changes or keeps a value.

Wrong in one direction only: a name that says secret is one, unless its value is a number, a switch or a path; whoever
needs it elsewhere declares it.
"""

import re

from moss.domain.secrets import Kind, spans

SAYS_SECRET = re.compile(r"(?i)(?:^|[_-])(?:token|secret|passw(?:or)?d|passphrase|pwd|key|credentials?)$")
HARMLESS = re.compile(r"(?i)\d*|true|false|yes|no|on|off|none|null|\.{0,2}/\S*")


def is_secret(name: str, value: str) -> bool:
    """Whether a variable is one that no box may have."""
    if HARMLESS.fullmatch(value):
        return False
    return SAYS_SECRET.search(name) is not None or any(span.kind is Kind.TOKEN for span in spans(f"{name}={value}"))
