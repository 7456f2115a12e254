"""Owns what the clerk can do for a customer: the tools, as the model sees them and as they run.

Never talks to the model. Invariant: a tool gives a small JSON object or raises `ToolError`.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from clerk.db import ORDER_COLUMNS, Database
from clerk.payments import PaymentTimeout, Provider

ATTEMPTS = 2


class ToolError(Exception):
    """The tool could not do it; the model is told why."""


def order_number(text: str) -> str:
    """The number of an order as the shop writes it, from what a customer wrote: `#1017`, `no. 1017`."""
    return re.sub(r"^\s*(?:#|no\.?|order)?\s*", "", text.strip(), flags=re.IGNORECASE).upper()


class Tools:
    """The shop's tools over one state folder. `outward` false: nothing leaves the shop."""

    def __init__(self, database: Database, provider: Provider, outbox: Path, outward: bool) -> None:
        self._database, self._provider = database, provider
        self._outbox, self._outward = outbox, outward
        self._known: dict[str, Callable[..., dict]] = {
            "find_order": self.find_order,
            "order_status": self.order_status,
            "list_orders": self.list_orders,
            "refund": self.refund,
            "note": self.note,
            "send_mail": self.send_mail,
        }

    def run(self, name: str, arguments: str) -> dict:
        """Runs one tool with the model's arguments (JSON text). Raises: ToolError."""
        tool = self._known.get(name)
        if tool is None:
            raise ToolError(f"no such tool: {name[:80]}")
        try:
            given = json.loads(arguments or "{}")
        except ValueError:
            raise ToolError("the arguments are not JSON") from None
        wanted = PARAMETERS[name]
        if not isinstance(given, dict) or set(given) != set(wanted):
            raise ToolError(f"{name} wants: {', '.join(wanted)}")
        return tool(**{word: str(value) for word, value in given.items()})

    def audit(self, result: dict) -> str | None:
        """What the books say about the order that has just been paid back; None when all is well."""
        return self._provider.audit(result["order"]) if result.get("refunded") else None

    def find_order(self, order: str) -> dict:
        found = self._row(order)
        return {"order": found["number"], **{word: found[word] for word in ("customer", "item", "status")}}

    def order_status(self, order: str) -> dict:
        found = self._row(order_number(order))
        return {"order": found["number"], "status": found["status"]}

    def list_orders(self, customer: str) -> dict:
        with self._database.transaction() as sql:
            found = sql.execute(
                "SELECT number, status FROM orders WHERE customer = ? COLLATE NOCASE ORDER BY number",
                (customer,),
            )
            orders = [f"{number} {status}" for number, status in found]
        return {"customer": customer, "count": len(orders), "orders": orders}

    def refund(self, order: str) -> dict:
        found = self._row(order_number(order))
        number = found["number"]
        if found["status"] == "refunded":
            raise ToolError(f"order {number} is refunded already")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._provider.refund(number, found["cents"], found["card"])
                break
            except PaymentTimeout as error:
                if attempt == ATTEMPTS:
                    raise ToolError(str(error)) from error
        with self._database.transaction() as sql:
            sql.execute("UPDATE orders SET status = 'refunded' WHERE number = ?", (number,))
        return {"refunded": True, "order": number, "cents": found["cents"]}

    def note(self, order: str, text: str) -> dict:
        number = self._row(order_number(order))["number"]
        with self._database.transaction() as sql:
            sql.execute("INSERT INTO notes (number, text) VALUES (?, ?)", (number, text[:500]))
        return {"noted": True, "order": number}

    def send_mail(self, order: str, text: str) -> dict:
        """Mails the order's customer. With outward effects off nothing is sent, but the model hears the same,
        so that a rehearsal goes on as the real thing would."""
        found = self._row(order_number(order))
        if self._outward:
            line = json.dumps({"to": found["customer"], "order": found["number"], "text": text[:2000]})
            with self._outbox.open("a", encoding="utf-8") as outbox:
                outbox.write(line + "\n")
        return {"mailed": found["customer"], "order": found["number"]}

    def _row(self, number: str) -> dict:
        with self._database.transaction() as sql:
            row = sql.execute("SELECT * FROM orders WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise ToolError(f"no such order: {number[:40]}")
        return dict(zip(ORDER_COLUMNS, row, strict=True))


PARAMETERS: dict[str, dict[str, str]] = {
    "find_order": {"order": "the order's number"},
    "order_status": {"order": "the order's number"},
    "list_orders": {"customer": "the customer's name"},
    "refund": {"order": "the order's number"},
    "note": {"order": "the order's number", "text": "what to remember"},
    "send_mail": {"order": "the order's number", "text": "the words of the mail"},
}
SAYS = {
    "find_order": "Everything about one order.",
    "order_status": "Whether an order is paid, packed, shipped, delivered or refunded.",
    "list_orders": "All orders of a customer.",
    "refund": "Pays the price of an order back.",
    "note": "Keeps a note with an order.",
    "send_mail": "Sends a mail to the customer of an order.",
}


def schemas() -> list[dict]:
    """The tools as the chat-completions API wants them."""
    return [{"type": "function", "function": _function(name, words)} for name, words in PARAMETERS.items()]


def _function(name: str, words: dict[str, str]) -> dict:
    properties = {word: {"type": "string", "description": says} for word, says in words.items()}
    return {
        "name": name,
        "description": SAYS[name],
        "parameters": {"type": "object", "properties": properties, "required": list(words)},
    }
