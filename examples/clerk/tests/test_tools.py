import json

from clerk.tools import PARAMETERS, ToolError, order_number, schemas

from tests.shop import ShopTest


class ToolsTest(ShopTest):
    def test_an_order_is_found_by_its_number(self) -> None:
        found = self.tools.run("find_order", '{"order": "1004"}')
        self.assertEqual((found["order"], found["customer"], found["status"]), ("1004", "Dee", "delivered"))

    def test_a_number_is_read_from_what_customers_write(self) -> None:
        self.assertEqual([order_number(text) for text in ("#1017", " no. 1017 ", "order 1017")], ["1017"] * 3)

    def test_an_order_that_is_not_there_is_an_error_with_its_name(self) -> None:
        with self.assertRaisesRegex(ToolError, "no such order: 9999"):
            self.tools.run("order_status", '{"order": "#9999"}')

    def test_a_refund_pays_back_once_and_is_seen_in_the_status(self) -> None:
        self.assertEqual(self.tools.run("refund", '{"order": "#1002"}')["order"], "1002")
        self.assertEqual(self.refunds("1002"), 1)
        self.assertEqual(self.tools.run("order_status", '{"order": "1002"}')["status"], "refunded")

    def test_an_order_is_not_refunded_again(self) -> None:
        self.tools.run("refund", '{"order": "1003"}')
        with self.assertRaisesRegex(ToolError, "refunded already"):
            self.tools.run("refund", '{"order": "1003"}')
        self.assertEqual(self.refunds("1003"), 1)

    def test_a_slow_bank_s_refund_ends_well(self) -> None:
        self.assertTrue(self.tools.run("refund", '{"order": "1017"}')["refunded"])

    def test_a_customer_s_orders_are_listed_whatever_the_case_of_the_name(self) -> None:
        listed = self.tools.run("list_orders", '{"customer": "ADA"}')
        self.assertEqual((listed["count"], listed["orders"][0]), (4, "1001 paid"))

    def test_mail_goes_to_the_outbox_only_when_effects_are_on(self) -> None:
        asked = '{"order": "1004", "text": "on its way"}'
        rehearsed = self.tools_with(outward=False).run("send_mail", asked)
        self.assertFalse((self.state / "outbox.jsonl").exists())
        self.assertEqual(self.tools.run("send_mail", asked), rehearsed)
        self.assertEqual(json.loads((self.state / "outbox.jsonl").read_text())["to"], "Dee")

    def test_arguments_of_a_confused_model_are_refused(self) -> None:
        for arguments in ("{", "[]", "{}", '{"order": "1", "colour": "red"}'):
            with self.assertRaises(ToolError):
                self.tools.run("find_order", arguments)
        with self.assertRaisesRegex(ToolError, "no such tool"):
            self.tools.run("format_disk", "{}")

    def test_the_model_is_told_of_every_tool(self) -> None:
        self.assertEqual([schema["function"]["name"] for schema in schemas()], list(PARAMETERS))
