import json

from clerk.loop import MAX_STEPS
from clerk.model import ModelError
from clerk.sessions import BadSession, Sessions

from tests.shop import ShopTest, wants, words


def ignore(text: str) -> None:
    pass


class TurnsTest(ShopTest):
    def lines(self, session: str) -> list[dict]:
        return [json.loads(line) for line in (self.state / "sessions" / f"{session}.jsonl").read_text().splitlines()]

    def test_a_turn_is_one_line_with_its_tools_and_without_nulls(self) -> None:
        agent = self.agent(wants("order_status", '{"order": "1002"}'), words("Order 1002 is packed."))
        agent.answer("s", "And 1002?", "bo@shop", ignore)
        (line,) = self.lines("s")
        self.assertEqual((line["v"], line["ordinal"], line["status"], line["finish"]), (1, 1, 200, "stop"))
        self.assertEqual(line["tools"][0]["result"], '{"order": "1002", "status": "packed"}')
        self.assertNotIn("error", line["tools"][0])
        self.assertRegex(line["user_id"], "^u-[0-9a-f]{10}$")

    def test_a_tool_s_error_is_told_to_the_model_and_kept(self) -> None:
        agent = self.agent(wants("order_status", '{"order": "9999"}'), words("Sorry."))
        turn = agent.answer("s", "And 9999?", None, ignore)
        self.assertEqual(turn.tools[0].error, "no such order: 9999")
        self.assertEqual(json.loads(agent._model.seen[1][-1]["content"]), {"error": "no such order: 9999"})

    def test_the_next_turn_knows_the_conversation_also_after_a_restart(self) -> None:
        self.agent(words("Hello Ada.")).answer("s", "I am Ada", None, ignore)
        self.sessions = Sessions(self.state / "sessions")
        agent = self.agent(words("Ada."))
        turn = agent.answer("s", "Who am I?", None, ignore)
        self.assertEqual(turn.ordinal, 2)
        self.assertEqual(agent._model.turns, ["s#2"])
        said = [message["content"] for message in agent._model.seen[0][1:]]
        self.assertEqual(said, ["I am Ada", "Hello Ada.", "Who am I?"])

    def test_a_model_that_fails_ends_the_turn_with_its_reason(self) -> None:
        turn = self.agent(ModelError("the model answered 500")).answer("s", "hi", None, ignore)
        self.assertEqual((turn.status, turn.finish, turn.reply), (502, "error", None))
        self.assertEqual(self.lines("s")[0]["error"], "the model answered 500")

    def test_a_model_that_never_stops_is_stopped(self) -> None:
        turn = self.agent(wants("order_status", '{"order": "1002"}')).answer("s", "hi", None, ignore)
        self.assertEqual((len(turn.tools), turn.finish), (MAX_STEPS, "length"))

    def test_a_line_that_a_crash_tore_is_cut_off(self) -> None:
        self.agent(words("one")).answer("s", "1", None, ignore)
        with (self.state / "sessions" / "s.jsonl").open("a") as file:
            file.write('{"v": 1, "session": "s", "ordi')
        self.agent(words("two")).answer("s", "2", None, ignore)
        self.assertEqual([line["reply"] for line in self.lines("s")], ["one", "two"])

    def test_a_session_s_name_never_leaves_the_folder(self) -> None:
        for name in ("../x", "a/b", "", "x" * 81, ".hidden", "a\n"):
            with self.assertRaises(BadSession):
                self.agent(words("?")).answer(name, "hi", None, ignore)
