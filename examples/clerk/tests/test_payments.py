import sqlite3

from clerk.db import SCHEMA, Database, NewerState
from clerk.payments import PaymentTimeout

from tests.shop import ShopTest


class PaymentsTest(ShopTest):
    def test_a_lost_answer_does_not_undo_the_booking(self) -> None:
        with self.assertRaises(PaymentTimeout):
            self.provider.refund("1017", 100, "nb-1", key="k")
        self.assertEqual(self.refunds("1017"), 1)

    def test_the_same_key_is_booked_once(self) -> None:
        for _ in range(3):
            self.provider.refund("1002", 100, "cb-1", key="k")
        self.assertEqual(self.refunds("1002"), 1)
        self.assertIsNone(self.provider.audit("1002"))

    def test_the_audit_names_an_order_that_was_paid_back_twice(self) -> None:
        for key in ("a", "b"):
            self.provider.refund("1002", 100, "cb-1", key=key)
        self.assertEqual(self.provider.audit("1002"), "ledger audit: order 1002 refunded 2 times")

    def test_a_shop_keeps_its_books_over_a_restart_and_refuses_newer_ones(self) -> None:
        self.provider.refund("1002", 100, "cb-1")
        self.database.close()
        self.database = Database(self.state / "clerk.db")
        self.addCleanup(self.database.close)
        self.assertEqual(self.refunds("1002"), 1)
        other = sqlite3.connect(self.state / "newer.db")
        other.execute(f"PRAGMA user_version={SCHEMA + 1}")
        other.close()
        with self.assertRaises(NewerState):
            Database(self.state / "newer.db")
