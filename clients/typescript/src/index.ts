// What the package offers.

export { Stentor, type SendOptions, type StentorOptions } from "./client.js";
export type { Ended, State } from "./connection.js";
export { StentorError, type ClientErrorCode } from "./errors.js";
export type { CustomEvent, Events } from "./events.js";
export type { Socket, SocketConstructor } from "./link.js";
export type * from "./protocol.js";
export { Room, type RoomEvent } from "./room.js";
export type { RoomReset } from "./timeline.js";
export type { TokenSource } from "./token.js";
