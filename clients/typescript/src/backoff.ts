// When to come back after a connection has ended.

/** What a close code says: its first digits are the rule, so codes of later versions are understood too. */
export type AfterClose = "stop" | "fresh-token" | "later" | "now";

export function afterClose(code: number): AfterClose {
  if (code === 4002) return "fresh-token";
  if (code >= 4000 && code < 4100) return "stop";
  if (code >= 4200 && code < 4300) return "now";
  return "later";
}

/** A connection that held for this long makes the next delay start over. */
const STABLE_MS = 10_000;

/**
 * Delays that double up to a bound, each a random part of the whole ("full jitter"), so that thousands of clients which
 * lost the same server do not come back in the same moment.
 */
export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  #failures = 0;

  constructor({ baseMs = 1_000, maxMs = 30_000 }: { baseMs?: number; maxMs?: number } = {}) {
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
  }

  /** A connection ended that had been welcomed for `heldMs`. */
  held(heldMs: number): void {
    if (heldMs >= STABLE_MS) this.#failures = 0;
  }

  /** The next delay. `now` is honoured once: a server that goes on sending everybody away is not to be stormed. */
  next(now: boolean): number {
    const failures = this.#failures++;
    if (now && failures === 0) return 0;
    return Math.random() * Math.min(this.#maxMs, this.#baseMs * 2 ** Math.min(failures, 30));
  }
}
