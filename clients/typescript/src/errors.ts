// What can go wrong, as one class: refusals of the server under their own codes, and what only a client can know.

import type { ErrorCode, ErrorReply } from "./protocol.js";

/**
 * `TIMEOUT`: no answer came in time. `DISCONNECTED`: the connection ended before the answer; whether the request was
 * carried out is not known. `CLOSED`: this client was closed, or may not come back. `QUEUE_FULL`: too much is waiting.
 * `TOKEN_UNAVAILABLE`: the function that gives the token failed.
 */
export type ClientErrorCode = "TIMEOUT" | "DISCONNECTED" | "CLOSED" | "QUEUE_FULL" | "TOKEN_UNAVAILABLE";

export class StentorError extends Error {
  override readonly name = "StentorError";
  readonly code: ErrorCode | ClientErrorCode;
  /** Whether the very same request may succeed later. */
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  /** A finer code: a plugin's own, or why a room cannot be joined. */
  readonly reason?: string;
  /** Which plugin refused, or failed. */
  readonly plugin?: string;
  /** Which request was refused, where nobody waits for its answer. */
  readonly event?: string;
  readonly details?: unknown;

  constructor(code: ErrorCode | ClientErrorCode, message: string, more: Partial<Omit<ErrorReply, "code" | "message">> & ErrorOptions = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.retryable = more.retryable ?? false;
    if (more.retryAfterMs !== undefined) this.retryAfterMs = more.retryAfterMs;
    if (more.reason !== undefined) this.reason = more.reason;
    if (more.plugin !== undefined) this.plugin = more.plugin;
    if (more.event !== undefined) this.event = more.event;
    if (more.details !== undefined) this.details = more.details;
  }

  static refusal(data: ErrorReply): StentorError {
    return new StentorError(data.code, data.message, data);
  }
}
