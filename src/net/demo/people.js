// How available people are, as far as this page was told.

/** In the order in which they are listed. */
export const STATUSES = ['online', 'busy', 'dnd', 'away', 'offline'];

export const STATUS_NAMES = { online: 'Online', away: 'Away', busy: 'Busy', dnd: 'Do not disturb', offline: 'Offline' };

/** People who are kept; the server gives word of no more. */
const PEOPLE_MAX = 2_000;

export class People {
  #known = new Map();

  /** Takes what the server said of somebody. */
  tell({ userId, status, lastSeenAt, text }) {
    this.#known.delete(userId);
    this.#known.set(userId, { status, lastSeenAt, text });
    if (this.#known.size > PEOPLE_MAX) this.#known.delete(this.#known.keys().next().value);
  }

  /** `status` is `unknown` for those of whom nothing was said. */
  get(userId) {
    return this.#known.get(userId) ?? { status: 'unknown' };
  }

  has(userId) {
    return this.#known.has(userId);
  }

  /** The most available first, and by name. */
  sorted(userIds) {
    const rank = (userId) => {
      const found = STATUSES.indexOf(this.get(userId).status);
      return found < 0 ? STATUSES.length : found;
    };
    return [...userIds].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  }
}
