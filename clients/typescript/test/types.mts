// What the types of the package allow, and what they do not. It is compiled and not run.

import { Stentor, type Events } from "stentor-client";

const chat = new Stentor({ url: "wss://chat.example.com/ws", token: async () => "…", WebSocket });
const room = chat.room("lobby");

chat.on("message-new", ({ userId, content }): [string, unknown] => [userId, content]);
chat.on("reaction:added", (data: unknown) => data);
room.on("room-reset", ({ messages }) => messages.map((each) => ("content" in each ? each.content : each.deletedAt)));
room.on("reaction:added", (data: unknown) => data);
room.on("typing", ({ isTyping }): boolean => isTyping);
export const kind: Events["receipt"]["type"] = "seen";

// @ts-expect-error There is no such event.
chat.on("message-knew", () => {});
// @ts-expect-error It belongs to no room.
room.on("connected", () => {});
// @ts-expect-error There is no such status.
await chat.setPresence("asleep");
// @ts-expect-error Events that this client deals with are not to be heard.
chat.on("resync", () => {});
// @ts-expect-error What was received is nobody's to change.
chat.on("message-new", (message) => { message.version = 2; });
