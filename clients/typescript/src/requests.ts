// Requests that wait for their answers. It knows nothing of connections.

import { StentorError } from "./errors.js";
import type { ErrorReply } from "./protocol.js";

interface Waiting {
  /** Called at once, before anything that came later on the same connection is looked at. */
  readonly apply: ((data: unknown) => void) | undefined;
  readonly resolve: (data: unknown) => void;
  readonly reject: (error: StentorError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** Requests that may wait at the same time. */
const WAITING_MAX = 1_000;

export class Requests {
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  /** A promise of the answer to the request that is sent under the id given to `send`. */
  open(event: string, timeoutMs: number, send: (id: number) => void, apply?: (data: unknown) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= WAITING_MAX) {
        reject(new StentorError("QUEUE_FULL", `${WAITING_MAX} requests are waiting already`, { retryable: true }));
        return;
      }
      const id = this.#next++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new StentorError("TIMEOUT", `no answer to ${event} within ${timeoutMs} ms`, { retryable: true }));
      }, timeoutMs);
      this.#waiting.set(id, { apply, resolve, reject, timer });
      try {
        send(id);
      } catch (error) {
        this.#take(id)?.reject(error as StentorError);
      }
    });
  }

  /** Gives an answer to whoever waits for it. Nobody does if its time was up. */
  settle(id: unknown, event: string, data: unknown): void {
    const waiting = typeof id === "number" ? this.#take(id) : undefined;
    if (!waiting) return;
    if (event === "error") {
      waiting.reject(StentorError.refusal(data as ErrorReply));
      return;
    }
    waiting.apply?.(data);
    waiting.resolve(data);
  }

  /** The connection is gone, and no answer will come. */
  fail(error: StentorError): void {
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error);
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting) {
      clearTimeout(waiting.timer);
      this.#waiting.delete(id);
    }
    return waiting;
  }
}
