import http.client
import json
import threading

from clerk.model import ModelError
from clerk.server import Server

from tests.shop import ShopTest, words


class ServerTest(ShopTest):
    def setUp(self) -> None:
        super().setUp()
        self.server = Server("127.0.0.1", 0)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.addCleanup(self.thread.join)
        self.addCleanup(self.server.drain)

    def ask(self, method: str, path: str, body: str | None = None, session: str = "s") -> tuple[int, str]:
        connection = http.client.HTTPConnection(*self.server.server_address, timeout=5)
        self.addCleanup(connection.close)
        connection.request(method, path, body, {"X-Session-Id": session})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def turn(self, message: str, stream: bool = False) -> tuple[int, str]:
        asked = {"messages": [{"role": "user", "content": message}], "stream": stream}
        return self.ask("POST", "/v1/chat/completions", json.dumps(asked))

    def test_health_says_starting_until_it_is_ready(self) -> None:
        self.assertEqual(self.ask("GET", "/health"), (503, '{"status": "starting"}'))
        self.server.ready(self.agent(words("hi")))
        status, body = self.ask("GET", "/health")
        self.assertEqual((status, json.loads(body)["status"]), (200, "ready"))
        self.assertEqual(json.loads(body)["boot"], self.server.boot)

    def test_an_answer_comes_whole_or_in_pieces(self) -> None:
        self.server.ready(self.agent(words("Good day.")))
        status, body = self.turn("hi")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(body)["choices"][0]["message"]["content"], "Good day.")
        status, body = self.turn("hi", stream=True)
        self.assertIn('"delta": {"content": "Good day."}', body)
        self.assertTrue(body.endswith("data: [DONE]\n\n"))

    def test_a_broken_model_is_a_502_with_one_sentence(self) -> None:
        self.server.ready(self.agent(ModelError("no answer from the model")))
        for stream in (False, True):
            status, body = self.turn("hi", stream)
            self.assertEqual((status, json.loads(body)["error"]["message"]), (502, "no answer from the model"))

    def test_what_cannot_be_read_is_a_400(self) -> None:
        self.server.ready(self.agent(words("hi")))
        for body in ("", "{", "[]", '{"messages": []}', '{"messages": [{"role": "user", "content": 5}]}'):
            self.assertEqual(self.ask("POST", "/v1/chat/completions", body)[0], 400)
        good = '{"messages": [{"role": "user", "content": "hi"}]}'
        self.assertEqual(self.ask("POST", "/v1/chat/completions", good, session="../x")[0], 400)
        self.assertEqual(self.ask("GET", "/nowhere")[0], 404)
