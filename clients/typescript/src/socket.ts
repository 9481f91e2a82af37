// Where a WebSocket comes from, if nobody says so.

import type { SocketConstructor } from "./link.js";

export function socketOfPlatform(): SocketConstructor {
  const { WebSocket } = globalThis as { WebSocket?: SocketConstructor };
  if (!WebSocket) throw new TypeError("there is no WebSocket here: give one as `WebSocket`, for example that of the package ws");
  return WebSocket;
}

/** Calls when the platform says that the network is back. Returns what ends that. */
export function whenOnline(back: () => void): () => void {
  const platform = globalThis as Partial<Pick<typeof globalThis, "addEventListener" | "removeEventListener">>;
  platform.addEventListener?.("online", back);
  return () => platform.removeEventListener?.("online", back);
}

/** A name that nobody else has. (`crypto.randomUUID` is not there on pages without TLS.) */
export function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
