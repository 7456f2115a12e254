"""Owns the call of Alembic: the schema goes forward, inside the caller's transaction, never back.

Imported only when there is something to migrate, since Alembic is slow to import.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, to: str = "head") -> None:
    """All of the missing revisions or none: the caller commits."""
    command.upgrade(config(connection), to)


def config(connection: Connection | None = None) -> Config:
    """Alembic's settings as data; there is no ini file."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    found.attributes["connection"] = connection
    return found
