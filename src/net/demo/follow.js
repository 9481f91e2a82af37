// A list that is read at its end stays at its end, whatever is added to it and however its box changes.

/** So near to the end counts as being there. */
const NEAR_END_PX = 60;

export class Follower {
  #box;
  #isAtEnd = true;

  /** `arrived` is called when the reader has come to the end. */
  constructor(box, arrived = () => {}) {
    this.#box = box;
    box.addEventListener('scroll', () => {
      this.#isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
      if (this.#isAtEnd) arrived();
    });
    new ResizeObserver(() => this.follow()).observe(box);
  }

  get isAtEnd() {
    return this.#isAtEnd;
  }

  /** To be called when something was added. */
  follow() {
    if (this.#isAtEnd) this.toEnd();
  }

  toEnd() {
    this.#isAtEnd = true;
    this.#box.scrollTop = this.#box.scrollHeight;
  }
}
