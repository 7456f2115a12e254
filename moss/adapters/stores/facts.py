"""Owns small facts with a name: pause flag, adoption, used consents. Never what a name stands for."""

from collections.abc import Mapping
from typing import Literal

from sqlalchemy import delete, func, select

from moss.adapters.stores.dialect import upsert
from moss.adapters.stores.part import Part
from moss.adapters.stores.schema import facts


class Facts(Part):
    """Compare and set: two processes that expect the same old value never both succeed."""

    def fact(self, name: str) -> str | None:
        with self._db.read() as connection:
            return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one_or_none()

    def set_fact(self, name: str, value: str | None, *, expect: str | Literal["any"] | None = "any") -> bool:
        with self._db.write() as connection:
            found = connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one_or_none()
            if expect not in ("any", found):
                return False
            if value is None:
                connection.execute(delete(facts).where(facts.c.name == name))
            else:
                upsert(connection, facts, [{"name": name, "value": value}], ["value"])
            return True

    def facts(self, prefix: str) -> Mapping[str, str]:
        wanted = select(facts).where(func.substr(facts.c.name, 1, len(prefix)) == prefix).order_by(facts.c.name)
        with self._db.read() as connection:
            return {row.name: row.value for row in connection.execute(wanted)}
