// What one can listen to.

import type { Ended } from "./connection.js";
import type { StentorError } from "./errors.js";
import type { AuthSuccessReply, Pushes } from "./protocol.js";
import type { RoomReset } from "./timeline.js";

/** An event of an extension plugin: its name has a colon, and its data are the plugin's. */
export type CustomEvent = `${string}:${string}`;

/** The server's pushes, but for those that this client deals with by itself. */
type ServerEvents = Omit<Pushes, "resync" | "error" | "auth-success">;

/** What this client tells of itself. */
interface OwnEvents {
  /** A connection is there; what was missed follows. */
  readonly connected: AuthSuccessReply;
  /** A connection ended. It comes back by itself. */
  readonly disconnected: Ended;
  /** It is over, until `connect` is called: the server does not want this client back as it is, or `close` was called. */
  readonly closed: Ended;
  /** A room could not be resumed. This is what is in it now: replace what you show. */
  readonly "room-reset": RoomReset;
  /** Something failed that nobody waits for. */
  readonly trouble: StentorError;
}

export type Events = ServerEvents & OwnEvents & { readonly [event: CustomEvent]: unknown };
