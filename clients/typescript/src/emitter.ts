// Listeners by event. A listener that throws harms neither the other listeners nor whoever emits.

export type Listener<T> = (data: T) => void;

export class Emitter<Events> {
  readonly #listeners = new Map<PropertyKey, Set<Listener<never>>>();

  /** Returns the function that ends the listening. */
  on<E extends keyof Events>(event: E, listener: Listener<Events[E]>): () => void {
    let listeners = this.#listeners.get(event);
    if (!listeners) this.#listeners.set(event, (listeners = new Set()));
    listeners.add(listener as Listener<never>);
    return () => this.off(event, listener);
  }

  off<E extends keyof Events>(event: E, listener: Listener<Events[E]>): void {
    const listeners = this.#listeners.get(event);
    listeners?.delete(listener as Listener<never>);
    if (listeners?.size === 0) this.#listeners.delete(event);
  }

  emit<E extends keyof Events>(event: E, data: Events[E]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        (listener as Listener<Events[E]>)(data);
      } catch (error) {
        // It is reported as any uncaught error is, only not from here.
        queueMicrotask(() => { throw error; });
      }
    }
  }
}
