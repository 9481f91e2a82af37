// Throttles `typing-start`: an input field tells of every key, and the server forgets a typist only after 5 s.

/** A start within this time of the last one says nothing new. */
const REPEAT_MS = 3_000;

/** Rooms in which a user can be writing at once. */
const ROOMS_MAX = 100;

export class Typing {
  readonly #startedAt = new Map<string, number>();

  /** Whether a start is worth being sent. */
  start(room: string, now: number): boolean {
    const before = this.#startedAt.get(room);
    if (before !== undefined && now - before < REPEAT_MS) return false;
    this.#startedAt.delete(room);
    this.#startedAt.set(room, now);
    for (const oldest of this.#startedAt.keys()) {
      if (this.#startedAt.size <= ROOMS_MAX) break;
      this.#startedAt.delete(oldest);
    }
    return true;
  }

  /** Whether a stop is worth being sent: somebody was told of a start. */
  stop(room: string): boolean {
    return this.#startedAt.delete(room);
  }

  /** The server forgets typists with their connection. */
  clear(): void {
    this.#startedAt.clear();
  }
}
