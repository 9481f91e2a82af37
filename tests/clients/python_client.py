"""The protocol through the eyes of a Python programmer: the PyPI package `websockets`, five lines and no SDK.

Run by tests/run, which installs the package; prints `N passed, N failed` in the end.
"""

import contextlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError
from websockets.sync.client import connect

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
BINARY = os.environ.get("STENTOR_BINARY", str(TARGET / "release" / "stentor"))
PATIENCE = 10  # seconds, for what normally takes milliseconds


class Server:
    """A development server on ports that the system chooses, in a directory that goes with it."""

    def __init__(self, **settings):
        self.directory = tempfile.TemporaryDirectory(prefix="stentor-test-")
        # Nothing of the environment that could configure it.
        self.environment = {
            "PATH": os.environ["PATH"],
            "STENTOR__DATA_DIRECTORY": os.path.join(self.directory.name, "data"),
            "STENTOR__LISTEN": "127.0.0.1:0",
            "STENTOR__ADMIN__LISTEN": "127.0.0.1:0",
            "STENTOR__LOG__FORMAT": "json",
            **{f"STENTOR__{key}": value for key, value in settings.items()},
        }
        self.process = subprocess.Popen(
            [BINARY], cwd=self.directory.name, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        self.client = None
        self.listens = threading.Event()
        threading.Thread(target=self.read_log, daemon=True).start()
        if not self.listens.wait(PATIENCE) or self.client is None:
            self.stop()
            raise AssertionError("the server did not listen")

    def read_log(self):
        for line in self.process.stderr:
            if '"listening"' in line:
                self.client = json.loads(line)["client"]
                self.listens.set()
        self.listens.set()

    def token(self, user):
        command = [BINARY, "token", "--user", user]
        run = subprocess.run(
            command, cwd=self.directory.name, env=self.environment, check=True, capture_output=True, text=True, timeout=PATIENCE
        )
        return run.stdout.strip()

    def connect(self, user=None, **options):
        if user:
            options["additional_headers"] = {"Authorization": f"Bearer {self.token(user)}"}
        options.setdefault("subprotocols", ["stentor.v1"])
        # The library offers compression unasked, as most do. Unless it is told to, the server does not take it up, and all
        # goes well. The queue is unbounded because who only sends in a test reads nothing, not even the server's close behind it.
        address = f"ws://{self.client}/ws"
        return connect(address, proxy=None, max_queue=None, open_timeout=PATIENCE, close_timeout=PATIENCE, **options)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        self.directory.cleanup()


NUMBERS = itertools.count(1)


def ask(ws, event, data=None):
    """Sends a request and returns its reply; what is pushed meanwhile is not of interest."""
    number = next(NUMBERS)
    ws.send(json.dumps({"event": event, "id": number, "data": data}))
    return wait(ws, lambda message: message.get("id") == number)


def pushed(ws, event):
    return wait(ws, lambda message: message["event"] == event)["data"]


def wait(ws, wanted):
    while True:
        message = json.loads(ws.recv(timeout=PATIENCE))
        if wanted(message):
            return message


class PythonClient(unittest.TestCase):
    SETTINGS = {}
    EXTENSIONS = []

    @classmethod
    def setUpClass(cls):
        cls.server = Server(**cls.SETTINGS)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.connections = contextlib.ExitStack()
        self.addCleanup(self.connections.close)

    def room(self):
        return f"python-{next(NUMBERS)}"

    def member(self, user, room):
        ws = self.connections.enter_context(self.server.connect(user))
        self.assertEqual(pushed(ws, "auth-success")["userId"], user)
        self.assertEqual(ask(ws, "join-room", room)["event"], "room-joined")
        return ws

    def test_five_lines_are_a_client(self):
        token, url = self.server.token("alice"), f"ws://{self.server.client}/ws"
        with connect(url, proxy=None) as ws:
            ws.send(json.dumps({"event": "auth", "data": token}))
            ws.send(json.dumps({"event": "join-room", "data": "five-lines"}))
            ws.send(json.dumps({"event": "send-message", "data": {"conversationId": "five-lines", "content": "hello"}}))
            self.assertEqual(pushed(ws, "message-new")["content"], "hello")

    def test_the_handshake(self):
        with self.server.connect() as ws:
            self.assertEqual(ws.subprotocol, "stentor.v1")
            self.assertEqual([extension.name for extension in ws.protocol.extensions], self.EXTENSIONS)
            self.assertEqual(ask(ws, "join-room", "x")["data"]["code"], "NOT_AUTHENTICATED")
            self.assertEqual(ask(ws, "auth", self.server.token("alice"))["event"], "auth-success")
        for status, options in {
            400: {"subprotocols": ["other"]},
            401: {"additional_headers": {"Authorization": "Bearer nonsense"}},
            403: {"origin": "https://evil.example"},
        }.items():
            with self.subTest(status), self.assertRaises((InvalidStatus, NegotiationError)) as refused:
                self.server.connect(**options)
            self.assertEqual(refused.exception.response.status_code, status)

    def test_a_message_is_acknowledged_edited_deleted_and_kept(self):
        room = self.room()
        alice, bob = self.member("alice", room), self.member("bob", room)
        ack = ask(alice, "send-message", {"conversationId": room, "tempId": "t", "content": {"text": "one"}})
        self.assertEqual((ack["event"], ack["data"]["tempId"]), ("message-ack", "t"))
        message = {"conversationId": room, "messageId": ack["data"]["messageId"]}
        new = pushed(bob, "message-new")
        self.assertEqual((new["messageId"], new["userId"], new["content"]), (message["messageId"], "alice", {"text": "one"}))

        self.assertEqual(ask(alice, "edit-message", message | {"content": {"text": "two"}})["data"]["version"], 2)
        self.assertEqual(pushed(bob, "message-edited")["content"], {"text": "two"})
        page = ask(bob, "history", {"conversationId": room})["data"]
        self.assertEqual([each["content"] for each in page["messages"]], [{"text": "two"}])
        self.assertEqual(ask(bob, "delete-message", message)["data"]["code"], "FORBIDDEN")
        self.assertEqual(ask(alice, "delete-message", message)["event"], "ok")
        self.assertEqual(pushed(bob, "message-deleted")["messageId"], message["messageId"])
        page = ask(bob, "history", {"conversationId": room})["data"]
        self.assertNotIn("content", page["messages"][0])

    def test_a_plugin_refuses(self):
        room = self.room()
        alice = self.member("alice", room)
        refusal = ask(alice, "send-message", {"conversationId": room, "content": "oh, heck"})["data"]
        self.assertEqual((refusal["code"], refusal["reason"], refusal["plugin"]), ("REJECTED", "forbidden_word", "message-policy"))

    def test_unicode_arrives_as_it_was_sent(self):
        room = self.room() + "-комната-\U0001f3e0"
        alice, bob = self.member("alice", room), self.member("Zoë-\U0001f469\u200d\U0001f680", room)
        texts = [
            "Grüße, 世界, שלום, مرحبا",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 and \U0001f1e9\U0001f1ea",
            "e\u0301 is not é", "\u202eright to left\u202c", "a\u0000b", "\u2028\u2029\ufeff", "quotes \" and \\ and </script>",
        ]
        for text in texts:
            # Once as it is, once with every character beyond ASCII escaped.
            for ascii_only in (False, True):
                data = {"conversationId": room, "content": text, "tempId": text[:20].replace("\u0000", "") + str(ascii_only)}
                with self.subTest(text=text, ascii_only=ascii_only):
                    alice.send(json.dumps({"event": "send-message", "data": data}, ensure_ascii=ascii_only))
                    new = pushed(bob, "message-new")
                    self.assertEqual((new["content"], new["conversationId"]), (text, room))

    def test_fragments_are_one_message(self):
        room = self.room()
        alice = self.member("alice", room)
        content = "fragmented \u20ac \U0001f600 " * 20
        frame = json.dumps({"event": "send-message", "data": {"conversationId": room, "content": content}}, ensure_ascii=False)
        for size in (1, 3, 100):
            with self.subTest(size):
                # Cut within characters too: only the message as a whole has to be UTF-8.
                encoded = frame.encode()
                alice.send((encoded[at:at + size] for at in range(0, len(encoded), size)), text=True)
                self.assertEqual(pushed(alice, "message-new")["content"], content)

    def test_pings_are_answered_between_fragments_too(self):
        alice = self.member("alice", self.room())
        self.assertTrue(alice.ping().wait(PATIENCE))
        pongs = []

        def parts():
            yield '{"event":"heartbeat",'
            pongs.append(alice.ping("in between").wait(PATIENCE))
            yield '"id":"whole"}'

        alice.send(parts())
        self.assertEqual(wait(alice, lambda message: message.get("id") == "whole")["event"], "heartbeat-ack")
        self.assertEqual(pongs, [True])

    def test_closes_say_why(self):
        big = json.dumps({"event": "send-message", "data": {"conversationId": "x", "content": "x" * 70_000}})
        for code, act in {
            1009: lambda ws: ws.send(big),
            1007: lambda ws: ws.send(b"\xff\xfe", text=True),
            4001: lambda ws: ws.send(json.dumps({"event": "auth", "data": "nonsense"})),
            4005: lambda ws: [ws.send("nonsense") for _ in range(10)],
        }.items():
            with self.subTest(code), self.server.connect() as ws:
                act(ws)
                before = time.monotonic()
                with self.assertRaises(ConnectionClosed) as closed:
                    wait(ws, lambda _: False)
                self.assertEqual(closed.exception.rcvd.code, code)
                # The library tells of a close when the server has ended the TCP connection too, as it should at once.
                self.assertLess(time.monotonic() - before, 2)


class PythonClientWithCompression(PythonClient):
    """The same once more, with a server that takes compression up: the library then compresses all that it sends."""

    SETTINGS = {"DELIVERY__DEFLATE_BYTES_MIN": "1"}
    EXTENSIONS = ["permessage-deflate"]


if __name__ == "__main__":
    program = unittest.main(verbosity=2, exit=False)
    failed = len(program.result.failures) + len(program.result.errors)
    print(f"{program.result.testsRun - failed} passed, {failed} failed", flush=True)
    sys.exit(0 if program.result.testsRun and program.result.wasSuccessful() else 1)
