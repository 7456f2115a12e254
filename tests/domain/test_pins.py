"""What a run stands on: a pin is another when something was set, and only then."""

from moss.config import CheckoutBuild, TrialSettings
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest
from moss.domain.pins import changed, pin


def test_what_is_set_changes_a_pin_and_a_default_that_is_written_out_does_not() -> None:
    plain = pin(TrialSettings())
    assert pin(TrialSettings(seconds=TrialSettings().seconds)) == plain
    assert pin(TrialSettings(seconds=1.0)) != plain
    assert pin(TrialSettings(seconds=1.0), leave_out=("seconds",)) == plain


def test_a_setting_that_a_newer_moss_added_changes_no_pin() -> None:
    class Old(Frozen):
        seconds: float = 1.0

    class Newer(Frozen):
        seconds: float = 1.0
        added: int = 7

    Newer.__name__ = Old.__name__
    assert pin(Newer(seconds=2.0)) == pin(Old(seconds=2.0))


def test_another_kind_with_nothing_set_is_another_pin() -> None:
    assert pin(CheckoutBuild()) != pin(TrialSettings())
    assert pin(TrialSettings(), TrialSettings()) != pin(TrialSettings())


def test_only_what_was_pinned_is_asked_for() -> None:
    one, other = Digest("sha256:1"), Digest("sha256:2")
    assert changed({"a": one, "b": one}, {"a": one, "b": other, "c": other}) == ("b",)
    assert changed({"gone": one}, {}) == ("gone",)
    assert changed({}, {"a": one}) == ()
