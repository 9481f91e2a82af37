// The page's network: the browser's WebSocket with a switch and a window. The switch is so that losing the connection
// can be tried, and the window shows every frame to whoever watches. The client is given it as its `WebSocket`.

const CUT = { code: 3000, reason: 'cut by the visitor' };
const LOST = { code: 1006, reason: 'no network' };

export class Network {
  #sockets = new Set();
  #isUp = true;

  /** `watch` is called with `in`, `out` or `info`, and the text. */
  constructor(watch) {
    const network = this;
    /** What the client opens. */
    this.WebSocket = class {
      onopen = null;
      onmessage = null;
      onclose = null;
      onerror = null;
      #inner;

      constructor(url, protocols) {
        if (!network.#isUp) {
          setTimeout(() => this.onclose?.(LOST));
          return;
        }
        this.#inner = new WebSocket(url, protocols);
        network.#sockets.add(this);
        this.#inner.onopen = (event) => {
          watch('info', 'open');
          this.onopen?.(event);
        };
        this.#inner.onmessage = (event) => {
          watch('in', event.data);
          this.onmessage?.(event);
        };
        this.#inner.onerror = (event) => this.onerror?.(event);
        this.#inner.onclose = (event) => this.#closed(event);
      }

      get isOpen() {
        return this.#inner?.readyState === WebSocket.OPEN;
      }

      send(text) {
        this.#inner?.send(text);
        watch('out', text);
      }

      close(code, reason) {
        this.#inner?.close(code, reason);
      }

      /** As if the cable were pulled out: nobody waits for the other side. */
      lose() {
        this.#inner.onmessage = this.#inner.onclose = this.#inner.onopen = null;
        this.#inner.close();
        this.#closed(LOST);
      }

      #closed({ code, reason }) {
        if (!network.#sockets.delete(this)) return;
        // The server answers with our own code, and without our words.
        const how = code === CUT.code ? CUT : { code, reason };
        watch('info', `closed ${code} ${how.reason}`.trim());
        this.onclose?.(how);
      }
    };
  }

  get isUp() {
    return this.#isUp;
  }

  set isUp(isUp) {
    this.#isUp = isUp;
    // The browser says so too when its network is back, and the client listens to it.
    if (isUp) window.dispatchEvent(new Event('online'));
    else for (const socket of [...this.#sockets]) socket.lose();
  }

  /** Closes what is open. The client comes back by itself. */
  cut() {
    for (const socket of this.#sockets) socket.close(CUT.code, CUT.reason);
  }

  /** Sends a frame that was written by hand. Says whether there was a connection to send it on. */
  sendByHand(text) {
    const open = [...this.#sockets].find((socket) => socket.isOpen);
    open?.send(text);
    return open !== undefined;
  }
}
