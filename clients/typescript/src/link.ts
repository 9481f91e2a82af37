// One connection, from its opening to its end, which comes exactly once. It knows frames and no meanings.

import { StentorError } from "./errors.js";

/** What this client needs of a WebSocket: the browser's own has it, and so has that of the package `ws`. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketConstructor = new (url: string, protocols?: string[]) => Socket;

export interface LinkHandlers {
  opened(): void;
  frame(event: string, id: unknown, data: unknown): void;
  ended(code: number, reason: string): void;
}

export interface Heartbeat {
  /** Silence after which the server is asked for a sign of life. */
  readonly afterMs: number;
  /** Silence after that by which the connection counts as dead. */
  readonly timeoutMs: number;
}

const SUBPROTOCOL = "stentor.v1";

export class Link {
  /** Bytes of the longest frame that the server takes; known once it said so. */
  frameBytesMax = Number.MAX_SAFE_INTEGER;
  readonly #socket: Socket;
  readonly #handlers: LinkHandlers;
  readonly #heartbeat: Heartbeat;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heard = false;
  #ended = false;

  constructor(constructor: SocketConstructor, url: string, heartbeat: Heartbeat, handlers: LinkHandlers) {
    this.#handlers = handlers;
    this.#heartbeat = heartbeat;
    this.#socket = new constructor(url, [SUBPROTOCOL]);
    this.#socket.onopen = () => {
      this.#listen(false);
      handlers.opened();
    };
    this.#socket.onmessage = ({ data }: { data: unknown }) => this.#receive(data);
    this.#socket.onclose = ({ code, reason }: { code: number; reason: string }) => this.#end(code, reason);
    // What matters of an error follows as a close.
    this.#socket.onerror = () => {};
  }

  /** Throws if it cannot be sent. */
  send(event: string, data: unknown, id?: number): void {
    if (this.#ended) throw new StentorError("DISCONNECTED", "the connection has ended", { retryable: true });
    const text = JSON.stringify({ event, id, data });
    // The server ends a connection over a frame that is too long, so it is refused here.
    if (text.length > this.frameBytesMax || new TextEncoder().encode(text).length > this.frameBytesMax) {
      throw new StentorError("PAYLOAD_TOO_LARGE", `${event} is longer than the ${this.frameBytesMax} bytes that the server takes`);
    }
    try {
      this.#socket.send(text);
    } catch (cause) {
      throw new StentorError("DISCONNECTED", "the connection has ended", { retryable: true, cause });
    }
  }

  /** Ends the connection as if it had ended by itself. A dead one would not notice a polite close for minutes. */
  abandon(code: number, reason: string): void {
    this.#end(code, reason);
    this.#socket.close(1000);
  }

  #receive(text: unknown): void {
    if (this.#ended) return;
    this.#heard = true;
    if (typeof text !== "string") return;
    // A batch has an object in each line; within an object the server writes no line breaks.
    for (const line of text.split("\n")) {
      // Handlers may have ended the connection.
      if (line === "" || this.#ended) continue;
      const frame = parse(line);
      if (typeof frame?.event === "string") this.#handlers.frame(frame.event, frame.id, frame.data);
    }
  }

  /** Looks after a while whether anything came. Pings of the server do not count: no browser shows them to a page. */
  #listen(asked: boolean): void {
    this.#heard = false;
    this.#timer = setTimeout(() => {
      if (this.#heard) this.#listen(false);
      else if (asked) this.abandon(4201, "no sign of life from the server");
      else {
        this.#listen(true);
        try {
          this.send("heartbeat", undefined);
        } catch {
          // A socket that is closing says so itself, or is found silent.
        }
      }
    }, asked ? this.#heartbeat.timeoutMs : this.#heartbeat.afterMs);
  }

  #end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#handlers.ended(code, reason);
  }
}

/** What is no frame is passed over: a server of a later version may know more. */
function parse(line: string): { event?: unknown; id?: unknown; data?: unknown } | undefined {
  try {
    const frame: unknown = JSON.parse(line);
    return typeof frame === "object" && frame !== null ? frame : undefined;
  } catch {
    return undefined;
  }
}
