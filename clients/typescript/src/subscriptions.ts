// Whose availability is watched, to say it again to the next connection.

/** Users that can be watched at once, which is what a connection may subscribe to; those watched first go first. */
const USERS_MAX = 1_000;

/** Users that one request may name. */
const PAGE_USERS = 500;

export class Subscriptions {
  readonly #users = new Set<string>();

  add(users: readonly string[]): void {
    for (const user of users) {
      this.#users.delete(user);
      this.#users.add(user);
    }
    for (const oldest of this.#users) {
      if (this.#users.size <= USERS_MAX) break;
      this.#users.delete(oldest);
    }
  }

  remove(users: readonly string[]): void {
    for (const user of users) this.#users.delete(user);
  }

  pages(): string[][] {
    const users = [...this.#users];
    const pages: string[][] = [];
    for (let from = 0; from < users.length; from += PAGE_USERS) pages.push(users.slice(from, from + PAGE_USERS));
    return pages;
  }
}
