"""Owns the commands of a yes: review, approve, reject, rollback. The private key stays on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moss.api import asks, lines, says, screens
from moss.api.operations import APPROVE, APPROVERS, REJECT, REVIEW, ROLLBACK
from moss.api.plain import date, plain
from moss.cli import DONE, WAITING
from moss.cli.asking import Because, Run, asked
from moss.cli.session import Session, at
from moss.errors import Refused, UserError

if TYPE_CHECKING:
    from moss.domain.consent import Statement
    from moss.keys import PrivateKey

UNSAID = "asked for at the command line"
KEYS = Path("~/.config/moss/keys")
Keys = Annotated[Path, typer.Option("--keys", help="folder of your private keys", envvar="MOSS_KEYS")]
PassphraseFile = Annotated[Path | None, typer.Option("--passphrase-file", help="where your key's passphrase is")]


def review(context: typer.Context, run: Run) -> int:
    """What a run changes, what that proves, what it costs. Exits 3 while it waits for a person."""
    session = at(context)
    result = session.door.ask(REVIEW, asked(asks.OneRun, run=run))
    session.screen.give(result, screens.review(result))
    return WAITING if result.waits else DONE


def approve(
    context: typer.Context,
    run: Run,
    name: Annotated[str, typer.Option("--as", help="who you are, as moss.toml lists approvers")],
    keys: Keys = KEYS,
    passphrase_file: PassphraseFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask again")] = False,
) -> None:
    """Shows what you say yes to, signs it with your key, hands it in. The key never leaves this machine."""
    session = at(context)
    shown = session.door.ask(REVIEW, asked(asks.OneRun, run=run))
    statement = _to_sign(session, shown, name)
    if not yes:
        _ask_again(session, shown)
    consent = _key(name, keys.expanduser(), passphrase_file).sign(statement)
    result = session.door.ask(APPROVE, asks.Approve(run=shown.run, consent=consent))
    signed = (
        f"Signed with {consent.key} for candidate {statement.candidate[:18]}... on base {statement.base[:18]}..., "
        f"valid until {date(statement.expires)}"
    )
    session.screen.give(result, [signed, *lines.done(result)])


def _to_sign(session: Session, shown: says.Review, name: str) -> "Statement":
    """The statement; what can be refused before a key is opened is refused here. Raises: Refused."""
    if not shown.waits or shown.statement is None:
        state = f"ended {shown.outcome}" if shown.outcome else "is still at work"
        raise Refused(f"{shown.run} does not wait for consent: it {state}. Nothing was changed.")
    listed = session.door.ask(APPROVERS, asks.Nothing())
    if name not in [one.name for one in listed.approvers]:
        known = ", ".join(dict.fromkeys(one.name for one in listed.approvers))
        raise Refused(
            f"{plain(name, 60)} is not an approver of `{listed.substrate}` (approvers: {known or 'none'}). "
            "Nothing was changed.",
            mend=None if known else "moss keys new NAME",
        )
    return shown.statement


def _ask_again(session: Session, shown: says.Review) -> None:
    """Raises: UserError where nobody can be asked, typer.Abort on a no."""
    if session.screen.json or not sys.stdin.isatty():
        raise UserError("nobody can be asked here", mend=f"read moss review {shown.run} first, then add --yes")
    session.screen.lines(screens.review(shown))
    typer.confirm("Say yes to exactly this?", abort=True)


def _key(name: str, folder: Path, passphrase_file: Path | None) -> "PrivateKey":
    """The key, its passphrase asked for where it has one. Raises: UserError."""
    from moss.config import Secret
    from moss.keys import load_key
    from moss.settings import resolve

    if passphrase_file is not None:
        return load_key(name, folder, resolve(Secret(file=passphrase_file.expanduser()), {}))
    try:
        return load_key(name, folder)
    except UserError as error:
        if "has a passphrase" not in error.sentence or not sys.stdin.isatty():
            raise
    return load_key(name, folder, typer.prompt(f"Passphrase of {name}'s key", hide_input=True))


def reject(context: typer.Context, run: Run, because: Because = UNSAID) -> None:
    """Says no to a run that waits for consent."""
    session = at(context)
    result = session.door.ask(REJECT, asked(asks.Because, run=run, because=because))
    session.screen.give(result, lines.done(result))


def rollback(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="without: the one that is live")] = None,
    because: Because = UNSAID,
    yes: Annotated[bool, typer.Option("--yes", help="as of the others: a rollback never asks")] = False,
) -> int:
    """Brings back what was live before; it is probed, too. Without a moss serve the swap is done here."""
    session = at(context)
    result = session.door.ask(ROLLBACK, asked(asks.Rollback, run=run, because=because))
    if session.server is not None or session.serve_runs:
        session.screen.give(result, lines.done(result))
        return DONE
    from moss.cli.drive import to_its_end

    session.screen.note(plain(result.says))
    return to_its_end(session, result.says.split(" ", 1)[0])
