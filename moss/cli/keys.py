"""Owns the commands about approvers' keys. A private key is made and stays here; MOSS gets its public half."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from moss.api import asks, lines
from moss.api.operations import APPROVERS, REVOKE
from moss.cli.asking import asked
from moss.cli.review import KEYS, Keys, PassphraseFile
from moss.cli.session import Session, at
from moss.errors import UserError

Name = Annotated[str, typer.Argument(metavar="NAME", help="lower-case letters, digits, dashes")]


def new(
    context: typer.Context,
    name: Name,
    keys: Keys = KEYS,
    passphrase_file: PassphraseFile = None,
    add: Annotated[bool, typer.Option("--add/--no-add", help="add its public half to moss.toml")] = True,
) -> None:
    """Makes a key on this machine; its public half becomes an approver in moss.toml."""
    from moss.keys import new_key

    session = at(context)
    folder = keys.expanduser()
    here = session.server is None and session.file.exists()
    made = new_key(name, folder, _passphrase(session, passphrase_file), away_from=_away(session) if here else ())
    added = here and add and _append(session.file, made.entry)
    if session.screen.json:
        place = str(folder / f"{name}.pem")
        session.screen.values(
            name=name, fingerprint=made.fingerprint, public_key=made.text, private_key=place, added=added
        )
        return
    session.screen.lines([f"{name}'s key {made.fingerprint} is in {folder / (name + '.pem')}"])
    if added:
        session.screen.note(f"{name} is an approver in {session.file} now (a moss serve that runs takes it up)")
    else:
        session.screen.lines(["add this to moss.toml:", "", *made.entry.splitlines()])


def _passphrase(session: Session, file: Path | None) -> str | None:
    from moss.config import Secret
    from moss.settings import resolve

    if file is not None:
        return resolve(Secret(file=file.expanduser()), {})
    if session.screen.json or session.screen.quiet or not sys.stdin.isatty():
        return None
    said: str = typer.prompt("Passphrase (empty: none)", default="", hide_input=True, show_default=False)
    if said and typer.prompt("Again", hide_input=True) != said:
        raise UserError("the two passphrases differ", mend="nothing was made; try again")
    return said or None


def _away(session: Session) -> list[Path]:
    """Folders that the agent or MOSS reads: no key may be in them."""
    settings = session.settings
    folders = (settings.home, settings.path(settings.substrate.source), settings.state)
    return [folder for folder in folders if folder is not None]


def _append(file: Path, entry: str) -> bool:
    """Adds the entry to moss.toml where that leaves good settings; whether it did. Whole or not at all."""
    from moss.files import write_durably
    from moss.settings import load

    before, mode = file.read_bytes(), file.stat().st_mode & 0o777
    write_durably(file, before.rstrip(b"\n") + b"\n\n" + entry.encode(), mode)
    try:
        load(file, {})
    except UserError:
        # `approvers = [...]` in one line cannot be added to from the end of the file.
        write_durably(file, before, mode)
        return False
    return True


def list_(context: typer.Context) -> None:
    """Who may say yes, with the fingerprints of their keys."""
    session = at(context)
    result = session.door.ask(APPROVERS, asks.Nothing())
    session.screen.give(result, lines.approvers(result))


def revoke(context: typer.Context, name: Name) -> None:
    """From now on no signature of this approver counts, also one that was handed in."""
    session = at(context)
    result = session.door.ask(REVOKE, asked(asks.Named, name=name))
    session.screen.give(result, lines.done(result))
    session.screen.note("keep it so in moss.toml, too: revoked = true in its [[consent.approvers]]")
