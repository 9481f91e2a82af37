"""A load that makes everything happen that a dashboard or an alert counts: people who talk, and all kinds of trouble.

The clients are Python's own library and nothing else. They run on one event loop in a thread of its own, from `Load()`
until `stop`, and raise there whatever went wrong in between.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import socket
import struct
import threading

from processes import API_KEY, token

ROOMS = 6
MEMBERS = 8
# Pauses between a member's messages, in seconds: with these and the above about a hundred messages a second.
PAUSE = 0.5
# Text that fills the buffers of a socket that is not read within a hundred messages.
LONG = "x" * 60_000
LONG_MESSAGES = 150
PATIENCE = 20


class Connection:
    """A WebSocket connection. What arrives is counted and thrown away, unless an answer is waited for."""

    numbers = itertools.count(1)

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.waiting = {}
        self.task = None

    @classmethod
    async def open(cls, address, user=None, reads=True, headers=()):
        """Connects. Returns nothing when the handshake is refused."""
        host, port = address.rsplit(":", 1)
        plain = socket.socket()
        plain.setblocking(False)
        if not reads:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=plain)
        lines = [
            "GET /ws HTTP/1.1", f"Host: {address}", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            *([f"Authorization: Bearer {token(user)}"] if user else []), *headers, "", "",
        ]
        writer.write("\r\n".join(lines).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        connection = cls(reader, writer)
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            connection.abort()
            return None
        if reads:
            connection.task = asyncio.create_task(connection.read())
        return connection

    def frame(self, opcode, payload):
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
        # A mask of zeros is a mask.
        self.writer.write(head + bytes(4) + payload)

    async def ask(self, event, data=None):
        """Sends a request and waits for its answer."""
        number = next(self.numbers)
        answer = self.waiting[number] = asyncio.get_running_loop().create_future()
        self.frame(1, json.dumps({"event": event, "id": number, "data": data}).encode())
        # Not `wait_for`, which forgets that it was cancelled if the answer comes at the same moment.
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()
            return await answer

    async def read(self):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, length = await self.reader.readexactly(2)
                if length == 126:
                    (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif length == 127:
                    (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
                payload = await self.reader.readexactly(length)
                if first & 0xF == 9:
                    self.frame(10, payload)
                elif first & 0xF == 8:
                    return
                elif b'"id":' in payload[:64] and self.waiting:
                    message = json.loads(payload)
                    answer = self.waiting.pop(message.get("id"), None)
                    if answer and not answer.done():
                        answer.set_result(message)

    def abort(self):
        """Ends the connection without ceremony."""
        if self.task:
            self.task.cancel()
        self.writer.transport.abort()

    async def leave(self):
        """Ends it as WebSocket has it."""
        self.frame(8, struct.pack("!H", 1000))
        if self.task:
            async with asyncio.timeout(PATIENCE):
                await self.task
        self.writer.transport.abort()


class Load:
    def __init__(self, server):
        self.server, self.address = server, server.client
        self.error = None
        self.began = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        self.began.wait()

    def run(self):
        try:
            asyncio.run(self.everything())
        except asyncio.CancelledError:
            pass
        except Exception as error:  # Told by `check`, in the thread that can do something about it.
            self.error = error

    def check(self):
        if self.error:
            raise AssertionError("the load failed") from self.error

    def stop(self):
        with contextlib.suppress(RuntimeError):  # It has ended by itself, and `check` says why.
            self.loop.call_soon_threadsafe(self.main.cancel)
        self.thread.join()
        self.check()

    async def everything(self):
        self.loop, self.main = asyncio.get_running_loop(), asyncio.current_task()
        self.began.set()
        async with asyncio.TaskGroup() as group:
            for room in range(ROOMS):
                for member in range(MEMBERS):
                    group.create_task(self.talk(f"room-{room}", f"user-{room}-{member}", member))
            group.create_task(self.make_mistakes())
            group.create_task(self.look_on())
            group.create_task(self.trouble_plugins())
            group.create_task(self.crowd_a_plugin())
            group.create_task(self.reload())
            group.create_task(self.come_and_go())
            group.create_task(self.be_refused())
            group.create_task(self.ask_api())
            group.create_task(self.try_keys())
            group.create_task(self.not_read("logged"))
            group.create_task(self.not_read("ephemeral"))

    async def member(self, user, room):
        connection = await Connection.open(self.address, user)
        await connection.ask("join-room", room)
        return connection

    async def talk(self, room, user, number):
        connection = await self.member(user, room)
        await asyncio.sleep(PAUSE * number / MEMBERS)
        for count in itertools.count():
            message = {"conversationId": room, "content": f"message {count} of {user}", "tempId": f"t{count}"}
            await connection.ask("send-message", message)
            await asyncio.sleep(PAUSE)

    async def look_on(self):
        """Reads what others say, and watches who is there."""
        connection = await self.member("onlooker", "room-0")
        await connection.ask("subscribe-presence", {"userIds": [f"visitor-{number}" for number in range(10)]})
        while True:
            await connection.ask("mark-read", {"conversationId": "room-0", "upTo": 1 << 40})
            for status in ["away", "online"]:
                await connection.ask("presence-update", status)
                await asyncio.sleep(0.5)

    async def make_mistakes(self):
        """All that is a client's fault."""
        connection = await self.member("mistaken", "room-0")
        while True:
            await connection.ask("send-message", {"conversationId": "room-0", "content": "what the heck"})
            await connection.ask("send-message", {"conversationId": "room-0"})
            await connection.ask("send-message", {"conversationId": "no-such-room", "content": "hello"})
            await connection.ask("edit-message", {"conversationId": "room-0", "messageId": "none", "content": "x"})
            await connection.ask("no-such-event")
            await connection.ask("history", {"conversationId": "room-0", "limit": 5})
            await connection.ask("get-online-users", {"conversationId": "room-0"})
            await connection.ask("heartbeat")
            await asyncio.sleep(1)

    async def trouble_plugins(self):
        rooms = ["panics-room", "loops-room", "chatters-room", "fails-closed-room"]
        connection = await Connection.open(self.address, "troublemaker")
        for room in rooms:
            await connection.ask("join-room", room)
        while True:
            for room in rooms:
                for content in ["trigger", "nothing", "nothing", "nothing"]:
                    await connection.ask("send-message", {"conversationId": room, "content": content})
            await asyncio.sleep(0.3)

    async def crowd_a_plugin(self):
        """More questions at once than the plugin has instances and places to wait."""
        crowd = [await Connection.open(self.address, f"crowd-{number}") for number in range(6)]
        for count in itertools.count():
            async with asyncio.TaskGroup() as group:
                for connection in crowd:
                    group.create_task(connection.ask("join-room", f"busy-{count % 10}"))
            await asyncio.sleep(1)

    async def reload(self):
        """Configurations that can be used, and some that cannot."""
        while True:
            await asyncio.sleep(5)
            self.server.reload()
            await asyncio.sleep(1)
            self.server.reload("nonsense = 1\n")

    async def come_and_go(self):
        for count in itertools.count():
            connection = await Connection.open(self.address, f"visitor-{count % 10}")
            await connection.ask("join-room", f"room-{count % ROOMS}")
            await asyncio.sleep(0.2)
            if count % 2:
                await connection.leave()
            else:
                connection.abort()

    async def be_refused(self):
        """Bad tokens, of every kind, and pages of other sites."""
        while True:
            await Connection.open(self.address, headers=["Authorization: Bearer nonsense"])
            await Connection.open(self.address, headers=[f"Authorization: Bearer {token('late', -600)}"])
            await Connection.open(self.address, headers=[f"Authorization: Bearer {token('forged')[:-8]}AAAAAAAA"])
            await Connection.open(self.address, "visitor", headers=["Origin: https://elsewhere.example"])
            await asyncio.sleep(1)

    async def api(self, verb, body, key=API_KEY, address="203.0.113.1"):
        """Asks the server API, as if from some address. Returns the status."""
        host, port = self.server.admin.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps(body)
        lines = [
            f"POST /api/v1/{verb} HTTP/1.1", f"Host: {host}", "Connection: close", f"X-Forwarded-For: {address}",
            f"Authorization: Bearer {key}", f"Content-Length: {len(body)}", "", body,
        ]
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])

    async def ask_api(self):
        """What a server of the application does, and what it does wrong. It goes on whoever tries keys elsewhere."""
        asked = [
            ("publish", {"userId": "robot", "conversationId": "room-0", "content": "beep"}, 200),
            ("history", {"conversationId": "room-0", "limit": 5}, 200),
            ("connections", {"userId": "onlooker"}, 200),
            ("publish", {"userId": "robot"}, 400),
        ]
        while True:
            for verb, body, expected in asked:
                status = await self.api(verb, body)
                if status != expected:
                    raise AssertionError(f"{verb} {body}: {status}")
            await asyncio.sleep(0.5)

    async def try_keys(self):
        """A stranger tries one key after the other, and is soon not listened to."""
        for count in itertools.count():
            await self.api("publish", {}, key=f"key-{count}", address="198.51.100.1")
            await asyncio.sleep(0.2)

    async def is_member(self, connection, user, room):
        answer = await connection.ask("get-online-users", {"conversationId": room})
        return user in answer["data"]["users"]

    async def not_read(self, kind):
        """Somebody who does not read what others send: closed where there is a log, without the excess where not."""
        room = f"{kind}-unread"
        sender = await self.member("sender", room)
        while True:
            deaf = await Connection.open(self.address, "deaf", reads=False)
            deaf.frame(1, json.dumps({"event": "join-room", "data": room}).encode())
            while not await self.is_member(sender, "deaf", room):
                await asyncio.sleep(0.01)
            for _ in range(LONG_MESSAGES):
                await sender.ask("send-message", {"conversationId": room, "content": LONG, "noEcho": True})
            await asyncio.sleep(5)
            deaf.abort()
