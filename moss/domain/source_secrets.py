"""Owns which secrets count in source code: those of `domain.secrets`, without what code is full of.

Never used on evidence: there everything that may be a secret is one. Invariant: a quoted word, a random word and a key
of a known form are never taken for a name.
"""

import re
from collections.abc import Sequence

from moss.domain.secrets import Kind, Span, random_word, spans

NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(.*)?", re.DOTALL)
"""`settings.token`, `read_key(path)`: a value that the code fetches, not one that it holds."""
EXAMPLE_MAIL = re.compile(r"@(?:[\w-]+\.)*(?:example(?:\.(?:com|org|net))?|test|invalid|localhost)$", re.IGNORECASE)
"""Names that RFC 2606 keeps for examples."""
BEFORE_NAMES = " \t=(,"


def source_secrets(text: str) -> Sequence[str]:
    """The kinds of secrets in lines of source, each once, without the secrets."""
    return sorted({span.kind.value for span in spans(text) if not _harmless(text, span)})


def _harmless(text: str, span: Span) -> bool:
    word = text[span.start : span.end]
    if span.kind is Kind.MAIL:
        return EXAMPLE_MAIL.search(word) is not None
    bare = span.start > 0 and text[span.start - 1] in BEFORE_NAMES
    fetched = "." in word or "(" in word or not any(map(str.isdigit, word))
    return span.rest and bare and fetched and NAME.fullmatch(word) is not None and not random_word(word)
