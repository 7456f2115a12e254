"""The gateway's log: what an error quotes is cut and clean, too, since tracebacks hold what upstreams said."""

import json

import pytest
import structlog

from moss.gateway.logs import log_as_lines
from moss.logs import VALUE_LIMIT

KEY = "sk-proj-4f7Qm2Zx9Lk3Tn8Vb6Ws1Yd5Rc0Hj"


def test_a_traceback_is_cut_and_holds_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    log_as_lines()
    try:
        try:
            raise ValueError("x" * 5000 + f" Authorization: Bearer {KEY} refused")
        except ValueError:
            structlog.get_logger().error("broke", exc_info=True, path=f"/v1/{KEY}")
    finally:
        structlog.reset_defaults()
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["level"]) == ("broke", "error")
    assert line["exception"].endswith("refused")
    assert KEY not in str(line)
    assert max(len(str(value)) for value in line.values()) <= VALUE_LIMIT
