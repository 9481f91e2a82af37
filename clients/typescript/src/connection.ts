// A connection that comes back: it opens links one after the other, authenticates each, and ends only when told so by
// its user or by a server that does not want it back. It knows nothing of rooms and messages.

import { afterClose, Backoff } from "./backoff.js";
import { StentorError } from "./errors.js";
import { Link, type Heartbeat, type SocketConstructor } from "./link.js";
import type { AuthRequest, AuthSuccessReply, GoingAwayPush, TokenExpiringPush } from "./protocol.js";
import { Requests } from "./requests.js";
import { canRefresh, tokenFrom, type TokenSource } from "./token.js";

export type State = "idle" | "connecting" | "connected" | "waiting" | "closed";

/** How a connection ended. `retryInMs` is when the next attempt begins; without it there is none. */
export interface Ended {
  readonly code: number;
  readonly reason: string;
  readonly retryInMs?: number;
  /** What the server said before it closed. */
  readonly error?: StentorError;
}

export interface ConnectionOptions {
  readonly url: string;
  readonly token: TokenSource;
  readonly socket: SocketConstructor;
  readonly backoff: Backoff;
  readonly heartbeat: Heartbeat;
  /** How long opening and authenticating may take. */
  readonly connectTimeoutMs: number;
}

export interface ConnectionHandlers {
  /** What to say in `auth` besides the token. */
  auth(): Omit<AuthRequest, "token">;
  welcomed(session: AuthSuccessReply): void;
  push(event: string, data: unknown): void;
  ended(how: Ended): void;
  trouble(error: StentorError): void;
}

export interface RequestOptions {
  readonly timeoutMs: number;
  /** Called with the answer before anything behind it is looked at. */
  readonly apply?: (data: unknown) => void;
  /** Whether it does no harm twice, so that it is asked again when a connection ends before the answer. */
  readonly again?: boolean;
}

interface Waiter {
  readonly resolve: (link: Link) => void;
  readonly reject: (error: StentorError) => void;
}

/** Requests that may wait for a connection. */
const WAITERS_MAX = 200;

/** A token that is renewed is not renewed again before this, however short its life: 4002 then does the rest. */
const REFRESH_PAUSE_MS = 5_000;

const CLOSED_BY_USER = 1000;

/** Refusals of `auth` that the server ends the connection for, so that its close code says what to do. */
const ENDS_CONNECTION: ReadonlySet<string> = new Set(["AUTH_FAILED", "TOKEN_EXPIRED", "AUTH_TIMEOUT", "LIMIT_EXCEEDED"]);

export class Connection {
  #state: State = "idle";
  #session: AuthSuccessReply | undefined;
  #link: Link | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts attempts, so that what an earlier one still does is told from the present one. */
  #attempt = 0;
  #welcomedAt: number | undefined;
  #refreshedAt = -Infinity;
  #comeBackAt: number | undefined;
  #refusal: StentorError | undefined;
  readonly #options: ConnectionOptions;
  readonly #handlers: ConnectionHandlers;
  readonly #requests = new Requests();
  readonly #waiters = new Set<Waiter>();

  constructor(options: ConnectionOptions, handlers: ConnectionHandlers) {
    this.#options = options;
    this.#handlers = handlers;
  }

  get state(): State {
    return this.#state;
  }

  get session(): AuthSuccessReply | undefined {
    return this.#session;
  }

  /** Begins, if it has not begun, and waits for as long as it takes. */
  async connect(): Promise<AuthSuccessReply> {
    if (this.#state === "idle" || this.#state === "closed") this.#open();
    await this.#ready();
    return this.#session as AuthSuccessReply;
  }

  /** What was waiting for a good moment happens now: somebody knows that the network is back. */
  hurry(): void {
    if (this.#state === "waiting") this.#open();
  }

  close(): void {
    if (this.#state === "closed") return;
    const link = this.#link;
    if (link) link.abandon(CLOSED_BY_USER, "closed by this client");
    else this.#end({ code: CLOSED_BY_USER, reason: "closed by this client" });
  }

  /** Asks, as soon as there is a connection, and waits for the answer. */
  async request(event: string, data: unknown, options: RequestOptions): Promise<unknown> {
    if (this.#state === "idle") this.#open();
    const deadline = Date.now() + options.timeoutMs;
    for (;;) {
      const link = this.#state === "connected" && this.#link ? this.#link : await this.#ready(event, deadline - Date.now());
      const left = Math.max(1, deadline - Date.now());
      try {
        return await this.#requests.open(event, left, (id) => link.send(event, data, id), options.apply);
      } catch (error) {
        if (!(options.again && error instanceof StentorError && error.code === "DISCONNECTED" && this.#state !== "closed")) throw error;
      }
    }
  }

  /** Says something whose answer does not matter, if there is a connection. */
  tell(event: string, data: unknown): boolean {
    if (this.#state !== "connected" || !this.#link) return false;
    try {
      this.#link.send(event, data);
      return true;
    } catch {
      return false;
    }
  }

  #ready(event?: string, withinMs?: number): Promise<Link> {
    if (this.#state === "connected" && this.#link) return Promise.resolve(this.#link);
    if (this.#state === "closed") return Promise.reject(new StentorError("CLOSED", "this client is closed"));
    if (this.#waiters.size >= WAITERS_MAX) {
      return Promise.reject(new StentorError("QUEUE_FULL", `${WAITERS_MAX} requests wait for a connection already`, { retryable: true }));
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve: (link) => { this.#waiters.delete(waiter); clearTimeout(timer); resolve(link); },
        reject: (error) => { this.#waiters.delete(waiter); clearTimeout(timer); reject(error); },
      };
      const late = () => waiter.reject(new StentorError("TIMEOUT", `no connection to send ${event} on`, { retryable: true }));
      const timer = withinMs === undefined ? undefined : setTimeout(late, withinMs);
      this.#waiters.add(waiter);
    });
  }

  #open(): void {
    clearTimeout(this.#timer);
    this.#state = "connecting";
    this.#refusal = undefined;
    void this.#begin(++this.#attempt);
  }

  async #begin(attempt: number): Promise<void> {
    const { url, token, socket, heartbeat, connectTimeoutMs } = this.#options;
    let fresh: string;
    try {
      fresh = await tokenFrom(token);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#refusal = error as StentorError;
      this.#handlers.trouble(this.#refusal);
      this.#ended(4100, "no token");
      return;
    }
    if (attempt !== this.#attempt) return;
    try {
      const link: Link = new Link(socket, url, heartbeat, {
        opened: () => this.#authenticate(link, fresh),
        frame: (event, id, data) => this.#frame(event, id, data),
        ended: (code, reason) => this.#ended(code, reason),
      });
      this.#link = link;
      this.#timer = setTimeout(() => link.abandon(4100, "no welcome in time"), connectTimeoutMs);
    } catch (cause) {
      // The address itself is wrong.
      this.#end({ code: 4000, reason: "cannot connect", error: new StentorError("CLOSED", String(cause), { cause }) });
    }
  }

  #authenticate(link: Link, token: string): void {
    const data = { ...this.#handlers.auth(), token };
    const welcome = (session: unknown) => this.#welcome(link, session as AuthSuccessReply);
    this.#requests.open("auth", this.#options.connectTimeoutMs, (id) => link.send("auth", data, id), welcome).catch((error: StentorError) => {
      if (this.#link !== link) return;
      this.#refusal = error;
      if (ENDS_CONNECTION.has(error.code)) return;
      link.abandon(error.retryable ? 4100 : 4000, error.message);
    });
  }

  #welcome(link: Link, session: AuthSuccessReply): void {
    clearTimeout(this.#timer);
    link.frameBytesMax = session.limits.messageBytesMax;
    this.#session = session;
    this.#state = "connected";
    this.#welcomedAt = Date.now();
    this.#refreshedAt = -Infinity;
    this.#handlers.welcomed(session);
    for (const waiter of [...this.#waiters]) waiter.resolve(link);
  }

  #frame(event: string, id: unknown, data: unknown): void {
    if (id !== undefined) {
      this.#requests.settle(id, event, data);
      return;
    }
    if (event === "heartbeat-ack") return;
    if (event === "error") {
      const refusal = StentorError.refusal(data as Parameters<typeof StentorError.refusal>[0]);
      this.#refusal = refusal;
      this.#handlers.trouble(refusal);
      return;
    }
    if (event === "going-away") this.#comeBackAt = Date.now() + (data as GoingAwayPush).reconnectInMs;
    if (event === "token-expiring") this.#refreshSoon(data as TokenExpiringPush);
    this.#handlers.push(event, data);
  }

  /** Brings a fresh token on the open connection. Should that fail, the connection lives on until the old one expires. */
  #refreshSoon({ expiresAt }: TokenExpiringPush): void {
    const { token, connectTimeoutMs } = this.#options;
    const waitMs = this.#refreshedAt + REFRESH_PAUSE_MS - Date.now();
    if (!canRefresh(token) || Date.now() + waitMs > expiresAt) return;
    const attempt = this.#attempt;
    const refresh = async () => {
      this.#refreshedAt = Date.now();
      try {
        const fresh = await tokenFrom(token);
        if (attempt !== this.#attempt || this.#state !== "connected") return;
        this.#session = await this.request("auth", { token: fresh }, { timeoutMs: connectTimeoutMs }) as AuthSuccessReply;
      } catch (error) {
        if (attempt === this.#attempt) this.#handlers.trouble(error as StentorError);
      }
    };
    clearTimeout(this.#timer);
    if (waitMs > 0) this.#timer = setTimeout(() => void refresh(), waitMs);
    else void refresh();
  }

  /** A link ended, or did not come to be. */
  #ended(code: number, reason: string): void {
    clearTimeout(this.#timer);
    this.#link = undefined;
    if (this.#welcomedAt !== undefined) this.#options.backoff.held(Date.now() - this.#welcomedAt);
    const what = afterClose(code);
    const error = this.#refusal && { error: this.#refusal };
    const isOver = code === CLOSED_BY_USER && reason === "closed by this client";
    if (isOver || what === "stop" || (what === "fresh-token" && !canRefresh(this.#options.token))) {
      this.#end({ code, reason, ...error });
      return;
    }
    const backoffMs = this.#options.backoff.next(what !== "later");
    const toldMs = this.#comeBackAt === undefined ? 0 : Math.max(0, this.#comeBackAt - Date.now());
    const retryInMs = Math.max(backoffMs, toldMs);
    this.#comeBackAt = undefined;
    this.#welcomedAt = undefined;
    this.#state = "waiting";
    this.#timer = setTimeout(() => this.#open(), retryInMs);
    this.#requests.fail(new StentorError("DISCONNECTED", `the connection ended: ${code} ${reason}`, { retryable: true }));
    this.#handlers.ended({ code, reason, retryInMs, ...error });
  }

  /** It is over, until somebody connects again. */
  #end(how: Ended): void {
    clearTimeout(this.#timer);
    this.#attempt++;
    this.#state = "closed";
    this.#link = undefined;
    this.#welcomedAt = undefined;
    const more = { cause: how.error, ...(how.error?.reason !== undefined && { reason: how.error.reason }) };
    const error = new StentorError("CLOSED", `the connection is closed: ${how.code} ${how.reason}`, more);
    this.#requests.fail(error);
    for (const waiter of [...this.#waiters]) waiter.reject(error);
    this.#handlers.ended(how);
  }
}
