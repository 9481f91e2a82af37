// The client of clients/typescript in one file. Made by its tools/bundle.mjs: do not edit.

const backoff = (() => {
// When to come back after a connection has ended.
function afterClose(code) {
    if (code === 4002)
        return "fresh-token";
    if (code >= 4000 && code < 4100)
        return "stop";
    if (code >= 4200 && code < 4300)
        return "now";
    return "later";
}
/** A connection that held for this long makes the next delay start over. */
const STABLE_MS = 10_000;
/**
 * Delays that double up to a bound, each a random part of the whole ("full jitter"), so that thousands of clients which
 * lost the same server do not come back in the same moment.
 */
class Backoff {
    #baseMs;
    #maxMs;
    #failures = 0;
    constructor({ baseMs = 1_000, maxMs = 30_000 } = {}) {
        this.#baseMs = baseMs;
        this.#maxMs = maxMs;
    }
    /** A connection ended that had been welcomed for `heldMs`. */
    held(heldMs) {
        if (heldMs >= STABLE_MS)
            this.#failures = 0;
    }
    /** The next delay. `now` is honoured once: a server that goes on sending everybody away is not to be stormed. */
    next(now) {
        const failures = this.#failures++;
        if (now && failures === 0)
            return 0;
        return Math.random() * Math.min(this.#maxMs, this.#baseMs * 2 ** Math.min(failures, 30));
    }
}
return { afterClose, Backoff };
})();

const errors = (() => {
// What can go wrong, as one class: refusals of the server under their own codes, and what only a client can know.
class StentorError extends Error {
    constructor(code, message, more = {}) {
        super(message, more.cause === undefined ? undefined : { cause: more.cause });
        this.name = "StentorError";
        this.code = code;
        this.retryable = more.retryable ?? false;
        if (more.retryAfterMs !== undefined)
            this.retryAfterMs = more.retryAfterMs;
        if (more.reason !== undefined)
            this.reason = more.reason;
        if (more.plugin !== undefined)
            this.plugin = more.plugin;
        if (more.event !== undefined)
            this.event = more.event;
        if (more.details !== undefined)
            this.details = more.details;
    }
    static refusal(data) {
        return new StentorError(data.code, data.message, data);
    }
}
return { StentorError };
})();

const link = (() => {
const { StentorError } = errors;
// One connection, from its opening to its end, which comes exactly once. It knows frames and no meanings.
const SUBPROTOCOL = "stentor.v1";
class Link {
    #socket;
    #handlers;
    #heartbeat;
    #timer;
    #heard;
    #ended;
    constructor(constructor, url, heartbeat, handlers) {
        /** Bytes of the longest frame that the server takes; known once it said so. */
        this.frameBytesMax = Number.MAX_SAFE_INTEGER;
        this.#heard = false;
        this.#ended = false;
        this.#handlers = handlers;
        this.#heartbeat = heartbeat;
        this.#socket = new constructor(url, [SUBPROTOCOL]);
        this.#socket.onopen = () => {
            this.#listen(false);
            handlers.opened();
        };
        this.#socket.onmessage = ({ data }) => this.#receive(data);
        this.#socket.onclose = ({ code, reason }) => this.#end(code, reason);
        // What matters of an error follows as a close.
        this.#socket.onerror = () => { };
    }
    /** Throws if it cannot be sent. */
    send(event, data, id) {
        if (this.#ended)
            throw new StentorError("DISCONNECTED", "the connection has ended", { retryable: true });
        const text = JSON.stringify({ event, id, data });
        // The server ends a connection over a frame that is too long, so it is refused here.
        if (text.length > this.frameBytesMax || new TextEncoder().encode(text).length > this.frameBytesMax) {
            throw new StentorError("PAYLOAD_TOO_LARGE", `${event} is longer than the ${this.frameBytesMax} bytes that the server takes`);
        }
        try {
            this.#socket.send(text);
        }
        catch (cause) {
            throw new StentorError("DISCONNECTED", "the connection has ended", { retryable: true, cause });
        }
    }
    /** Ends the connection as if it had ended by itself. A dead one would not notice a polite close for minutes. */
    abandon(code, reason) {
        this.#end(code, reason);
        this.#socket.close(1000);
    }
    #receive(text) {
        if (this.#ended)
            return;
        this.#heard = true;
        if (typeof text !== "string")
            return;
        // A batch has an object in each line; within an object the server writes no line breaks.
        for (const line of text.split("\n")) {
            // Handlers may have ended the connection.
            if (line === "" || this.#ended)
                continue;
            const frame = parse(line);
            if (typeof frame?.event === "string")
                this.#handlers.frame(frame.event, frame.id, frame.data);
        }
    }
    /** Looks after a while whether anything came. Pings of the server do not count: no browser shows them to a page. */
    #listen(asked) {
        this.#heard = false;
        this.#timer = setTimeout(() => {
            if (this.#heard)
                this.#listen(false);
            else if (asked)
                this.abandon(4201, "no sign of life from the server");
            else {
                this.#listen(true);
                try {
                    this.send("heartbeat", undefined);
                }
                catch {
                    // A socket that is closing says so itself, or is found silent.
                }
            }
        }, asked ? this.#heartbeat.timeoutMs : this.#heartbeat.afterMs);
    }
    #end(code, reason) {
        if (this.#ended)
            return;
        this.#ended = true;
        clearTimeout(this.#timer);
        this.#handlers.ended(code, reason);
    }
}
/** What is no frame is passed over: a server of a later version may know more. */
function parse(line) {
    try {
        const frame = JSON.parse(line);
        return typeof frame === "object" && frame !== null ? frame : undefined;
    }
    catch {
        return undefined;
    }
}
return { Link };
})();

const requests = (() => {
const { StentorError } = errors;
// Requests that wait for their answers. It knows nothing of connections.
/** Requests that may wait at the same time. */
const WAITING_MAX = 1_000;
class Requests {
    #waiting = new Map();
    #next = 1;
    /** A promise of the answer to the request that is sent under the id given to `send`. */
    open(event, timeoutMs, send, apply) {
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
            }
            catch (error) {
                this.#take(id)?.reject(error);
            }
        });
    }
    /** Gives an answer to whoever waits for it. Nobody does if its time was up. */
    settle(id, event, data) {
        const waiting = typeof id === "number" ? this.#take(id) : undefined;
        if (!waiting)
            return;
        if (event === "error") {
            waiting.reject(StentorError.refusal(data));
            return;
        }
        waiting.apply?.(data);
        waiting.resolve(data);
    }
    /** The connection is gone, and no answer will come. */
    fail(error) {
        for (const id of [...this.#waiting.keys()])
            this.#take(id)?.reject(error);
    }
    #take(id) {
        const waiting = this.#waiting.get(id);
        if (waiting) {
            clearTimeout(waiting.timer);
            this.#waiting.delete(id);
        }
        return waiting;
    }
}
return { Requests };
})();

const token = (() => {
const { StentorError } = errors;
// Where tokens come from.
function canRefresh(source) {
    return typeof source === "function";
}
async function tokenFrom(source) {
    if (typeof source === "string")
        return source;
    try {
        return await source();
    }
    catch (cause) {
        throw new StentorError("TOKEN_UNAVAILABLE", "the function that gives the token failed", { retryable: true, cause });
    }
}
return { canRefresh, tokenFrom };
})();

const connection = (() => {
const { afterClose, Backoff } = backoff;
const { StentorError } = errors;
const { Link } = link;
const { Requests } = requests;
const { canRefresh, tokenFrom } = token;
// A connection that comes back: it opens links one after the other, authenticates each, and ends only when told so by
// its user or by a server that does not want it back. It knows nothing of rooms and messages.
/** Requests that may wait for a connection. */
const WAITERS_MAX = 200;
/** A token that is renewed is not renewed again before this, however short its life: 4002 then does the rest. */
const REFRESH_PAUSE_MS = 5_000;
const CLOSED_BY_USER = 1000;
/** Refusals of `auth` that the server ends the connection for, so that its close code says what to do. */
const ENDS_CONNECTION = new Set([
    "AUTH_FAILED",
    "TOKEN_EXPIRED",
    "AUTH_TIMEOUT",
    "LIMIT_EXCEEDED",
]);
class Connection {
    #state = "idle";
    #session;
    #link;
    #timer;
    /** Counts attempts, so that what an earlier one still does is told from the present one. */
    #attempt = 0;
    #welcomedAt;
    #refreshedAt = -Infinity;
    #comeBackAt;
    #refusal;
    #options;
    #handlers;
    #requests = new Requests();
    #waiters = new Set();
    constructor(options, handlers) {
        this.#options = options;
        this.#handlers = handlers;
    }
    get state() {
        return this.#state;
    }
    get session() {
        return this.#session;
    }
    /** Begins, if it has not begun, and waits for as long as it takes. */
    async connect() {
        if (this.#state === "idle" || this.#state === "closed")
            this.#open();
        await this.#ready();
        return this.#session;
    }
    /** What was waiting for a good moment happens now: somebody knows that the network is back. */
    hurry() {
        if (this.#state === "waiting")
            this.#open();
    }
    close() {
        if (this.#state === "closed")
            return;
        const link = this.#link;
        if (link)
            link.abandon(CLOSED_BY_USER, "closed by this client");
        else
            this.#end({ code: CLOSED_BY_USER, reason: "closed by this client" });
    }
    /** Asks, as soon as there is a connection, and waits for the answer. */
    async request(event, data, options) {
        if (this.#state === "idle")
            this.#open();
        const deadline = Date.now() + options.timeoutMs;
        for (;;) {
            const link = this.#state === "connected" && this.#link ? this.#link : await this.#ready(event, deadline - Date.now());
            const left = Math.max(1, deadline - Date.now());
            try {
                return await this.#requests.open(event, left, (id) => link.send(event, data, id), options.apply);
            }
            catch (error) {
                if (!(options.again &&
                    error instanceof StentorError &&
                    error.code === "DISCONNECTED" &&
                    this.#state !== "closed"))
                    throw error;
            }
        }
    }
    /** Says something whose answer does not matter, if there is a connection. */
    tell(event, data) {
        if (this.#state !== "connected" || !this.#link)
            return false;
        try {
            this.#link.send(event, data);
            return true;
        }
        catch {
            return false;
        }
    }
    #ready(event, withinMs) {
        if (this.#state === "connected" && this.#link)
            return Promise.resolve(this.#link);
        if (this.#state === "closed")
            return Promise.reject(new StentorError("CLOSED", "this client is closed"));
        if (this.#waiters.size >= WAITERS_MAX) {
            return Promise.reject(new StentorError("QUEUE_FULL", `${WAITERS_MAX} requests wait for a connection already`, { retryable: true }));
        }
        return new Promise((resolve, reject) => {
            const waiter = {
                resolve: (link) => {
                    this.#waiters.delete(waiter);
                    clearTimeout(timer);
                    resolve(link);
                },
                reject: (error) => {
                    this.#waiters.delete(waiter);
                    clearTimeout(timer);
                    reject(error);
                },
            };
            const late = () => waiter.reject(new StentorError("TIMEOUT", `no connection to send ${event} on`, { retryable: true }));
            const timer = withinMs === undefined ? undefined : setTimeout(late, withinMs);
            this.#waiters.add(waiter);
        });
    }
    #open() {
        clearTimeout(this.#timer);
        this.#state = "connecting";
        this.#refusal = undefined;
        void this.#begin(++this.#attempt);
    }
    async #begin(attempt) {
        const { url, token, socket, heartbeat, connectTimeoutMs } = this.#options;
        let fresh;
        try {
            fresh = await tokenFrom(token);
        }
        catch (error) {
            if (attempt !== this.#attempt)
                return;
            this.#refusal = error;
            this.#handlers.trouble(this.#refusal);
            this.#ended(4100, "no token");
            return;
        }
        if (attempt !== this.#attempt)
            return;
        try {
            const link = new Link(socket, url, heartbeat, {
                opened: () => this.#authenticate(link, fresh),
                frame: (event, id, data) => this.#frame(event, id, data),
                ended: (code, reason) => this.#ended(code, reason),
            });
            this.#link = link;
            this.#timer = setTimeout(() => link.abandon(4100, "no welcome in time"), connectTimeoutMs);
        }
        catch (cause) {
            // The address itself is wrong.
            this.#end({ code: 4000, reason: "cannot connect", error: new StentorError("CLOSED", String(cause), { cause }) });
        }
    }
    #authenticate(link, token) {
        const data = { ...this.#handlers.auth(), token };
        const welcome = (session) => this.#welcome(link, session);
        this.#requests
            .open("auth", this.#options.connectTimeoutMs, (id) => link.send("auth", data, id), welcome)
            .catch((error) => {
            if (this.#link !== link)
                return;
            this.#refusal = error;
            if (ENDS_CONNECTION.has(error.code))
                return;
            link.abandon(error.retryable ? 4100 : 4000, error.message);
        });
    }
    #welcome(link, session) {
        clearTimeout(this.#timer);
        link.frameBytesMax = session.limits.messageBytesMax;
        this.#session = session;
        this.#state = "connected";
        this.#welcomedAt = Date.now();
        this.#refreshedAt = -Infinity;
        this.#handlers.welcomed(session);
        for (const waiter of [...this.#waiters])
            waiter.resolve(link);
    }
    #frame(event, id, data) {
        if (id !== undefined) {
            this.#requests.settle(id, event, data);
            return;
        }
        if (event === "heartbeat-ack")
            return;
        if (event === "error") {
            const refusal = StentorError.refusal(data);
            this.#refusal = refusal;
            this.#handlers.trouble(refusal);
            return;
        }
        if (event === "going-away")
            this.#comeBackAt = Date.now() + data.reconnectInMs;
        if (event === "token-expiring")
            this.#refreshSoon(data);
        this.#handlers.push(event, data);
    }
    /** Brings a fresh token on the open connection. Should that fail, it lives on until the old one expires. */
    #refreshSoon({ expiresAt }) {
        const { token, connectTimeoutMs } = this.#options;
        const waitMs = this.#refreshedAt + REFRESH_PAUSE_MS - Date.now();
        if (!canRefresh(token) || Date.now() + waitMs > expiresAt)
            return;
        const attempt = this.#attempt;
        const refresh = async () => {
            this.#refreshedAt = Date.now();
            try {
                const fresh = await tokenFrom(token);
                if (attempt !== this.#attempt || this.#state !== "connected")
                    return;
                this.#session = (await this.request("auth", { token: fresh }, { timeoutMs: connectTimeoutMs }));
            }
            catch (error) {
                if (attempt === this.#attempt)
                    this.#handlers.trouble(error);
            }
        };
        clearTimeout(this.#timer);
        if (waitMs > 0)
            this.#timer = setTimeout(() => void refresh(), waitMs);
        else
            void refresh();
    }
    /** A link ended, or did not come to be. */
    #ended(code, reason) {
        clearTimeout(this.#timer);
        this.#link = undefined;
        if (this.#welcomedAt !== undefined)
            this.#options.backoff.held(Date.now() - this.#welcomedAt);
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
    #end(how) {
        clearTimeout(this.#timer);
        this.#attempt++;
        this.#state = "closed";
        this.#link = undefined;
        this.#welcomedAt = undefined;
        const more = { cause: how.error, ...(how.error?.reason !== undefined && { reason: how.error.reason }) };
        const error = new StentorError("CLOSED", `the connection is closed: ${how.code} ${how.reason}`, more);
        this.#requests.fail(error);
        for (const waiter of [...this.#waiters])
            waiter.reject(error);
        this.#handlers.ended(how);
    }
}
return { Connection };
})();

const emitter = (() => {
// Listeners by event. A listener that throws harms neither the other listeners nor whoever emits.
class Emitter {
    #listeners = new Map();
    /** Returns the function that ends the listening. */
    on(event, listener) {
        let listeners = this.#listeners.get(event);
        if (!listeners)
            this.#listeners.set(event, (listeners = new Set()));
        listeners.add(listener);
        return () => this.off(event, listener);
    }
    off(event, listener) {
        const listeners = this.#listeners.get(event);
        listeners?.delete(listener);
        if (listeners?.size === 0)
            this.#listeners.delete(event);
    }
    emit(event, data) {
        for (const listener of [...(this.#listeners.get(event) ?? [])]) {
            try {
                listener(data);
            }
            catch (error) {
                // It is reported as any uncaught error is, only not from here.
                queueMicrotask(() => {
                    throw error;
                });
            }
        }
    }
}
return { Emitter };
})();

const outbox = (() => {
const { StentorError } = errors;
// Messages on their way: kept until they are acknowledged, through any number of connections.
//
// Each has a `tempId`, by which the server knows it again, so sending it once more is safe. Within a room one is under
// way at a time, because order must survive a refusal for rate; different rooms do not wait for each other.
/** Rooms in which a message is under way at the same time: a queue sent in one go would be refused for its rate. */
const UNDER_WAY_MAX = 8;
/** How long to wait after the first refusal that does not say when to try again; twice as long after the next. */
const RETRY_MS = 500;
/** Refusals after which a message is given up. Those for rate are not counted: they pass. */
const REFUSALS_MAX = 6;
class Outbox {
    #entries = new Set();
    #underWay = new Set();
    #limits;
    #transmit;
    #mayGo;
    #bytes = 0;
    #pause;
    /** `transmit` sends once; `mayGo` says whether a room's messages can be sent now. */
    constructor(limits, transmit, mayGo) {
        this.#limits = limits;
        this.#transmit = transmit;
        this.#mayGo = mayGo;
    }
    get size() {
        return this.#entries.size;
    }
    add(data) {
        return new Promise((resolve, reject) => {
            const bytes = new TextEncoder().encode(JSON.stringify(data)).length;
            if (this.#entries.size >= this.#limits.messagesMax || this.#bytes + bytes > this.#limits.bytesMax) {
                reject(new StentorError("QUEUE_FULL", "too many messages are waiting to be sent", { retryable: true }));
                return;
            }
            this.#bytes += bytes;
            this.#entries.add({ data, bytes, resolve, reject, refusals: 0 });
            this.pump();
        });
    }
    /** Sends whatever can be sent now. To be called when a connection is there, and when a room is ready. */
    pump() {
        if (this.#pause !== undefined)
            return;
        // Rooms of which an earlier message waits: what is behind it waits too.
        const held = new Set(this.#underWay);
        for (const entry of this.#entries) {
            if (this.#underWay.size >= UNDER_WAY_MAX)
                return;
            const room = entry.data.conversationId;
            if (held.has(room))
                continue;
            held.add(room);
            if (this.#mayGo(room))
                void this.#attempt(entry, room);
        }
    }
    /** Nothing will be sent any more. */
    fail(error) {
        clearTimeout(this.#pause);
        this.#pause = undefined;
        for (const entry of [...this.#entries]) {
            this.#drop(entry);
            entry.reject(error);
        }
    }
    async #attempt(entry, room) {
        this.#underWay.add(room);
        try {
            const ack = await this.#transmit(entry.data);
            this.#drop(entry);
            entry.resolve(ack);
        }
        catch (cause) {
            const error = cause;
            // The next connection sends it again.
            if (error.code === "DISCONNECTED")
                return;
            if (error.code !== "RATE_LIMITED")
                entry.refusals++;
            if (!error.retryable || entry.refusals >= REFUSALS_MAX) {
                this.#drop(entry);
                entry.reject(error);
            }
            else {
                this.#rest(error.retryAfterMs ?? RETRY_MS * 2 ** entry.refusals);
            }
        }
        finally {
            this.#underWay.delete(room);
            this.pump();
        }
    }
    /** Nothing is sent for a while: whatever a retryable refusal was about, more would only add to it. */
    #rest(ms) {
        clearTimeout(this.#pause);
        this.#pause = setTimeout(() => {
            this.#pause = undefined;
            this.pump();
        }, ms);
    }
    #drop(entry) {
        if (this.#entries.delete(entry))
            this.#bytes -= entry.bytes;
    }
}
return { Outbox };
})();

const room = (() => {
// One room, so that its name need not be said again and again.
class Room {
    #chat;
    constructor(chat, id) {
        this.#chat = chat;
        this.id = id;
    }
    /** Listens to what happens in this room. Returns the function that ends it. */
    on(event, listener) {
        return this.#chat.on(event, (data) => {
            if (data?.conversationId === this.id)
                listener(data);
        });
    }
    join() {
        return this.#chat.join(this.id);
    }
    leave() {
        return this.#chat.leave(this.id);
    }
    send(content, options) {
        return this.#chat.send(this.id, content, options);
    }
    edit(messageId, content, options) {
        return this.#chat.edit(this.id, messageId, content, options);
    }
    delete(messageId) {
        return this.#chat.delete(this.id, messageId);
    }
    history(page) {
        return this.#chat.history(this.id, page);
    }
    onlineUsers() {
        return this.#chat.onlineUsers(this.id);
    }
    typingUsers() {
        return this.#chat.typingUsers(this.id);
    }
    /** Says that you are writing. Call it with every key: it is told at most once in three seconds. */
    typing() {
        this.#chat.typing(this.id);
    }
    stopTyping() {
        this.#chat.stopTyping(this.id);
    }
    /** Says what was seen: up to a `seq`, or all that this client was given. */
    markRead(upTo) {
        return this.#chat.markRead(this.id, upTo);
    }
    /** Says what was delivered. Only needed with `autoAck: false`. */
    ack(upTo) {
        return this.#chat.ack(this.id, upTo);
    }
    messageStatus(messageId, options) {
        return this.#chat.messageStatus(this.id, messageId, options);
    }
}
return { Room };
})();

const socket = (() => {
// Where a WebSocket comes from, if nobody says so.
function socketOfPlatform() {
    const { WebSocket } = globalThis;
    if (!WebSocket)
        throw new TypeError("there is no WebSocket here: give one as `WebSocket`, for example that of the package ws");
    return WebSocket;
}
/** Calls when the platform says that the network is back. Returns what ends that. */
function whenOnline(back) {
    const platform = globalThis;
    platform.addEventListener?.("online", back);
    return () => platform.removeEventListener?.("online", back);
}
/** A name that nobody else has. (`crypto.randomUUID` is not there on pages without TLS.) */
function randomName() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
return { socketOfPlatform, whenOnline, randomName };
})();

const subscriptions = (() => {
// Whose availability is watched, to say it again to the next connection.
/** Users that can be watched at once, which is what a connection may subscribe to; those watched first go first. */
const USERS_MAX = 1_000;
/** Users that one request may name. */
const PAGE_USERS = 500;
class Subscriptions {
    #users = new Set();
    add(users) {
        for (const user of users) {
            this.#users.delete(user);
            this.#users.add(user);
        }
        for (const oldest of this.#users) {
            if (this.#users.size <= USERS_MAX)
                break;
            this.#users.delete(oldest);
        }
    }
    remove(users) {
        for (const user of users)
            this.#users.delete(user);
    }
    pages() {
        const users = [...this.#users];
        const pages = [];
        for (let from = 0; from < users.length; from += PAGE_USERS)
            pages.push(users.slice(from, from + PAGE_USERS));
        return pages;
    }
}
return { Subscriptions };
})();

const cursors = (() => {
// What this client has seen, by room: the place from which to resume, and the reason why no event is shown twice.
/** Bytes of all that `auth` says in `since`. A frame may not be longer than the server's limit, which is no less. */
const SINCE_BYTES_MAX = 32_768;
class Cursors {
    /** In the order of last use, so that the rooms in which something happens are resumed first. */
    #cursors = new Map();
    get(room) {
        return this.#cursors.get(room);
    }
    set(room, since) {
        this.#cursors.delete(room);
        this.#cursors.set(room, since);
    }
    forget(room) {
        this.#cursors.delete(room);
    }
    rooms() {
        return [...this.#cursors.keys()];
    }
    /** The order within a log has no holes, so one number for each room tells what is new, old, or missing. */
    judge({ conversationId, epoch, seq }) {
        const cursor = this.#cursors.get(conversationId);
        if (epoch === undefined || seq === undefined || cursor === undefined)
            return "fresh";
        if (epoch !== cursor.epoch)
            return "gap";
        if (seq <= cursor.seq)
            return "known";
        return seq === cursor.seq + 1 ? "fresh" : "gap";
    }
    /** An event was dealt with. */
    advance({ conversationId, epoch, seq, messageId }) {
        if (epoch === undefined || seq === undefined)
            return;
        this.set(conversationId, messageId === undefined ? { epoch, seq } : { epoch, seq, messageId });
    }
    /** `since` for `auth`: as many rooms as fit, those used last first. */
    since() {
        const chosen = {};
        let bytes = 0;
        for (const [room, since] of [...this.#cursors].reverse()) {
            bytes += new TextEncoder().encode(JSON.stringify([room, since])).length;
            if (bytes > SINCE_BYTES_MAX)
                break;
            chosen[room] = since;
        }
        return chosen;
    }
}
return { Cursors };
})();

const timeline = (() => {
const { Cursors } = cursors;
const { StentorError } = errors;
// What happens in rooms, given on once and in order, whatever connections do meanwhile.
//
// Each room has a cursor. A new connection says all of them and is sent what was missed. Where that cannot be done, or
// where an event is missing after all, the room is asked for by itself; and where its log has nothing to go on from, it
// is read anew and given on as a whole, as `room-reset`.
/** Events of a room that are held back while it is read anew. */
const HELD_MAX = 1_000;
/** Attempts to resume a room, where the server says that a later one may succeed. */
const ATTEMPTS_MAX = 5;
const RETRY_MS = 1_000;
const PAGE_MESSAGES = 200;
class Timeline {
    #cursors = new Cursors();
    /** Rooms that this client joined, which it joins again after a restart of the server lost them. */
    #joined = new Set();
    /** Rooms that are asked for by themselves. */
    #resuming = new Map();
    /** Rooms of which membership is not certain: nothing is sent to them meanwhile. */
    #entering = new Set();
    /** What is pushed in rooms that are read anew. `undefined` for too much of it. */
    #held = new Map();
    /** Rooms that were there at the welcome, whose missed events are still on their way. */
    #heads = [];
    #handlers;
    #resetMessagesMax;
    constructor(handlers, resetMessagesMax, seen = {}) {
        this.#handlers = handlers;
        for (const [room, since] of Object.entries(seen))
            this.#cursors.set(room, since);
        this.#resetMessagesMax = resetMessagesMax;
    }
    cursor(room) {
        return this.#cursors.get(room);
    }
    all() {
        return Object.fromEntries(this.#cursors.rooms().map((room) => [room, this.#cursors.get(room)]));
    }
    since() {
        return this.#cursors.since();
    }
    isReady(room) {
        return !this.#entering.has(room);
    }
    /** A connection was welcomed, having said `since`. */
    welcomed({ rooms, queued, limits }, since) {
        this.#heads = rooms;
        if (!queued)
            this.#startAtHeads();
        const present = new Set(rooms.map(({ conversationId }) => conversationId));
        // The list is whole unless it is as long as it may be.
        const isWhole = rooms.length < limits.roomsMax;
        for (const room of this.#cursors.rooms()) {
            if (present.has(room) && since[room] === undefined)
                this.#resume(room);
            if (!present.has(room) && !this.#joined.has(room) && isWhole)
                this.#lost(room, "not_a_member");
        }
        for (const room of this.#joined) {
            if (present.has(room))
                continue;
            this.#entering.add(room);
            this.#resume(room);
        }
    }
    async join(room) {
        this.#entering.add(room);
        try {
            const since = this.#cursors.get(room);
            return await this.#ask(room, since, { again: true });
        }
        finally {
            this.#enter(room);
        }
    }
    left(room) {
        this.#joined.delete(room);
        this.#cursors.forget(room);
        this.#held.delete(room);
    }
    /** A message was sent of which no push will come. */
    sent(logged) {
        if (this.#cursors.judge(logged) === "fresh")
            this.#cursors.advance(logged);
    }
    /** A push of the server. */
    push(event, data) {
        if (event === "resync") {
            this.#resume(data.conversationId, true);
        }
        else if (event === "queue-flushed") {
            this.#startAtHeads();
            this.#handlers.emit(event, data);
        }
        else if (event === "room-joined") {
            this.#arrive(data);
            this.#handlers.emit(event, data);
        }
        else if (event === "room-left") {
            this.left(data.conversationId);
            this.#handlers.emit(event, data);
        }
        else {
            this.#take(event, data);
        }
    }
    #take(event, data) {
        if (!isLogged(data)) {
            this.#handlers.emit(event, data);
            return;
        }
        const room = data.conversationId;
        if (this.#held.has(room)) {
            const held = this.#held.get(room);
            if (held && held.length < HELD_MAX)
                held.push({ event, data });
            else
                this.#held.set(room, undefined);
            return;
        }
        const verdict = this.#cursors.judge(data);
        if (verdict === "gap")
            this.#resume(room);
        if (verdict !== "fresh")
            return;
        // First, so that a listener who asks for the cursor finds this event covered.
        this.#cursors.advance(data);
        this.#handlers.emit(event, data);
    }
    /** Rooms of which nothing is known are known from their present end on. */
    #startAtHeads() {
        for (const head of this.#heads) {
            if (this.#cursors.get(head.conversationId) === undefined)
                this.#cursors.advance(head);
        }
        this.#heads = [];
    }
    /** Asks for a room by itself, once at a time. One that `mustReset` lacks something even if nothing was seen. */
    #resume(room, mustReset = false) {
        if (this.#resuming.has(room))
            return;
        const resuming = this.#patiently(room, mustReset)
            .catch((error) => {
            // Without a connection there is nothing to do: the next one will say `since`.
            if (!(error instanceof StentorError) || error.code === "DISCONNECTED" || error.code === "CLOSED")
                return;
            if (error.retryable)
                this.#handlers.emit("trouble", error);
            else
                this.#lost(room, error.reason ?? error.code);
        })
            .finally(() => {
            this.#resuming.delete(room);
            this.#enter(room);
        });
        this.#resuming.set(room, resuming);
    }
    async #patiently(room, mustReset) {
        for (let attempt = 1;; attempt++) {
            try {
                await this.#ask(room, this.#cursors.get(room), { mustReset });
                return;
            }
            catch (error) {
                const mayPass = error instanceof StentorError && error.retryable && error.code !== "DISCONNECTED";
                if (!mayPass || attempt === ATTEMPTS_MAX)
                    throw error;
                await new Promise((done) => setTimeout(done, error.retryAfterMs ?? RETRY_MS * attempt));
            }
        }
    }
    /** Joins, which does nothing to a member but give what was missed. */
    async #ask(room, since, { again = false, mustReset = false }) {
        let isLost = false;
        const apply = (data) => {
            const reply = data;
            this.#joined.add(room);
            for (const { event, data: missed } of reply.messages)
                this.#take(event, missed);
            isLost = (since !== undefined || mustReset) && !reply.recovered && reply.epoch !== undefined;
            if (isLost)
                this.#held.set(room, []);
            else
                this.#arrive(reply);
        };
        const reply = (await this.#handlers.ask("join-room", { conversationId: room, ...(since && { since }) }, { apply, again }));
        if (isLost)
            await this.#reset(room, since, reply);
        return reply;
    }
    /** The room's events are known up to what the reply says. */
    #arrive({ conversationId, epoch, seq }) {
        const cursor = this.#cursors.get(conversationId);
        if (epoch !== undefined && seq !== undefined && !(cursor?.epoch === epoch && cursor.seq >= seq)) {
            this.#cursors.set(conversationId, { epoch, seq });
        }
    }
    /** Reads a room anew. What is pushed meanwhile waits, and comes after. */
    async #reset(room, since, { epoch, seq }) {
        try {
            const { messages, hasMore } = await this.#read(room, since, epoch);
            // Left meanwhile.
            if (!this.#held.has(room))
                return;
            const held = this.#held.get(room);
            this.#held.delete(room);
            this.#cursors.set(room, { epoch: epoch, seq: seq ?? 0 });
            this.#handlers.emit("room-reset", {
                conversationId: room,
                epoch: epoch,
                messages,
                hasMore,
            });
            const read = new Set(messages.map(({ messageId }) => messageId));
            for (const { event, data } of held ?? []) {
                // What came after the answer to the join may be on the page already.
                if (event === "message-new" && read.has(data.messageId))
                    this.sent(data);
                else
                    this.#take(event, data);
            }
            // If too much came, the next event shows the gap, or the next connection; what is missing is in the log.
        }
        finally {
            // If it failed, the cursor is still the old one, and leads here again.
            this.#held.delete(room);
        }
    }
    async #read(room, since, epoch) {
        let messages = [];
        for (;;) {
            const before = messages[0]?.seq;
            const page = (await this.#handlers.ask("history", { conversationId: room, limit: PAGE_MESSAGES, ...(before !== undefined && { before }) }, {}));
            messages = [...page.messages, ...messages];
            const first = messages[0]?.seq;
            // What is older was seen before.
            const isKnown = since?.epoch === epoch && first !== undefined && first <= since.seq;
            if (!page.hasMore || first === undefined || isKnown || messages.length >= this.#resetMessagesMax) {
                return { messages, hasMore: page.hasMore };
            }
        }
    }
    /** This user is no member any more, and was not told at the time. */
    #lost(room, reason) {
        this.left(room);
        this.#handlers.emit("room-left", { conversationId: room, reason });
    }
    #enter(room) {
        if (this.#entering.delete(room))
            this.#handlers.ready(room);
    }
}
function isLogged(data) {
    const { conversationId, seq } = (data ?? {});
    return typeof conversationId === "string" && typeof seq === "number";
}
return { Timeline };
})();

const typing = (() => {
// Throttles `typing-start`: an input field tells of every key, and the server forgets a typist only after 5 s.
/** A start within this time of the last one says nothing new. */
const REPEAT_MS = 3_000;
/** Rooms in which a user can be writing at once. */
const ROOMS_MAX = 100;
class Typing {
    #startedAt = new Map();
    /** Whether a start is worth being sent. */
    start(room, now) {
        const before = this.#startedAt.get(room);
        if (before !== undefined && now - before < REPEAT_MS)
            return false;
        this.#startedAt.delete(room);
        this.#startedAt.set(room, now);
        for (const oldest of this.#startedAt.keys()) {
            if (this.#startedAt.size <= ROOMS_MAX)
                break;
            this.#startedAt.delete(oldest);
        }
        return true;
    }
    /** Whether a stop is worth being sent: somebody was told of a start. */
    stop(room) {
        return this.#startedAt.delete(room);
    }
    /** The server forgets typists with their connection. */
    clear() {
        this.#startedAt.clear();
    }
}
return { Typing };
})();

const client = (() => {
const { Backoff } = backoff;
const { Connection } = connection;
const { Emitter } = emitter;
const { StentorError } = errors;
const { Outbox } = outbox;
const { Room } = room;
const { randomName, socketOfPlatform, whenOnline } = socket;
const { Subscriptions } = subscriptions;
const { Timeline } = timeline;
const { Typing } = typing;
// The client, as an application sees it.
class Stentor {
    #events = new Emitter();
    #connection;
    #timeline;
    #outbox;
    #typing = new Typing();
    #watched = new Subscriptions();
    #options;
    #timeoutMs;
    #stopWatchingNetwork;
    #presence;
    #said = {};
    constructor(options) {
        const { url, token, backoff, heartbeat = {}, outbox = {}, timeoutMs = 10_000, resetMessagesMax = 1_000 } = options;
        this.#options = options;
        this.#timeoutMs = timeoutMs;
        if (options.presence)
            this.#presence = { status: options.presence };
        this.#connection = new Connection({
            url,
            token,
            socket: options.WebSocket ?? socketOfPlatform(),
            backoff: new Backoff(backoff),
            heartbeat: { afterMs: heartbeat.afterMs ?? 25_000, timeoutMs: heartbeat.timeoutMs ?? 10_000 },
            connectTimeoutMs: timeoutMs,
        }, {
            auth: () => this.#auth(),
            welcomed: (session) => this.#welcomed(session),
            push: (event, data) => this.#timeline.push(event, data),
            ended: (how) => {
                this.#typing.clear();
                if (how.retryInMs === undefined) {
                    this.#outbox.fail(new StentorError("CLOSED", `not sent: ${how.code} ${how.reason}`, { cause: how.error }));
                    this.#stopWatchingNetwork?.();
                    this.#stopWatchingNetwork = undefined;
                }
                this.#events.emit(how.retryInMs === undefined ? "closed" : "disconnected", how);
            },
            trouble: (error) => this.#events.emit("trouble", error),
        });
        this.#timeline = new Timeline({
            ask: (event, data, asking) => this.#connection.request(event, data, { timeoutMs, ...asking }),
            emit: (event, data) => this.#events.emit(event, data),
            ready: () => this.#outbox.pump(),
        }, resetMessagesMax, options.seen);
        const limits = { messagesMax: outbox.messagesMax ?? 1_000, bytesMax: outbox.bytesMax ?? 4 * 1024 * 1024 };
        this.#outbox = new Outbox(limits, (data) => this.#transmit(data), (room) => this.state === "connected" && this.#timeline.isReady(room));
    }
    get state() {
        return this.#connection.state;
    }
    /** What the server said at the last welcome: who you are, its limits, your rooms. */
    get session() {
        return this.#connection.session;
    }
    /** The last event that this client was given, by room: what to keep for the next life of your program. */
    get seen() {
        return this.#timeline.all();
    }
    /** Messages that wait for their acknowledgement. */
    get unsent() {
        return this.#outbox.size;
    }
    /** Connects now; any request does so too. Fails only if the server does not want this client as it is. */
    connect() {
        this.#stopWatchingNetwork ??= whenOnline(() => this.#connection.hurry());
        return this.#connection.connect();
    }
    /** Ends the connection. Whatever waits fails with `CLOSED`. */
    close() {
        this.#connection.close();
    }
    /** Listens. Returns the function that ends it. */
    on(event, listener) {
        return this.#events.on(event, listener);
    }
    off(event, listener) {
        this.#events.off(event, listener);
    }
    /** The next event of that name. */
    once(event) {
        return new Promise((resolve) => {
            const end = this.on(event, (data) => {
                end();
                resolve(data);
            });
        });
    }
    /** A handle of a room: the same as here, without saying its name each time. It need not be joined yet. */
    room(id) {
        return new Room(this, id);
    }
    /** Becomes a member of a room, and gets what happens in it from now on. */
    join(room) {
        this.#begin();
        return this.#timeline.join(room);
    }
    async leave(room) {
        await this.#ask("leave-room", { conversationId: room });
        this.#timeline.left(room);
    }
    /**
     * Sends a message. Without a connection it waits for one; however often that breaks, it is in the room once.
     * Fails if the server refuses it, if too much is waiting, or if this client is closed.
     */
    send(room, content, { type, replyTo, tempId = randomName(), noEcho } = {}) {
        if (this.state === "closed")
            return Promise.reject(new StentorError("CLOSED", "this client is closed"));
        this.#begin();
        this.#typing.stop(room);
        return this.#outbox.add({
            conversationId: room,
            tempId,
            content,
            ...(type !== undefined && { type }),
            ...(replyTo !== undefined && { replyTo }),
            ...(noEcho && { noEcho }),
        });
    }
    edit(room, messageId, content, { ifVersion } = {}) {
        return this.#ask("edit-message", {
            conversationId: room,
            messageId,
            content,
            ...(ifVersion !== undefined && { ifVersion }),
        });
    }
    delete(room, messageId) {
        return this.#ask("delete-message", { conversationId: room, messageId });
    }
    /** A page of messages in their present state: the newest, or those before or after a `seq`. */
    history(room, page = {}) {
        return this.#askAgain("history", { conversationId: room, ...page });
    }
    async onlineUsers(room) {
        return (await this.#askAgain("get-online-users", { conversationId: room })).users;
    }
    async typingUsers(room) {
        return (await this.#askAgain("get-typing-users", { conversationId: room })).users;
    }
    /** Says that you are writing. Call it with every key: it is told at most once in three seconds. */
    typing(room) {
        if (this.state === "connected" && this.#typing.start(room, Date.now()))
            this.#connection.tell("typing-start", { conversationId: room });
    }
    stopTyping(room) {
        if (this.#typing.stop(room))
            this.#connection.tell("typing-stop", { conversationId: room });
    }
    /** Says what was seen, up to a `seq`, or all that this client was given. It counts as delivered too. */
    markRead(room, upTo) {
        return this.#acknowledge("mark-read", room, upTo);
    }
    /** Says what was delivered. Only needed with `autoAck: false`. */
    ack(room, upTo) {
        return this.#acknowledge("ack", room, upTo);
    }
    /** Who has a message, and who has seen it; `after` a user for the next page. */
    messageStatus(room, messageId, { after } = {}) {
        return this.#askAgain("get-message-status", {
            conversationId: room,
            messageId,
            ...(after !== undefined && { after }),
        });
    }
    /** Says how available you are, now and with every later connection. */
    async setPresence(status, text) {
        this.#presence = text === undefined ? { status } : { status, text };
        await this.#askAgain("presence-update", this.#presence);
    }
    async getPresence(userIds) {
        return (await this.#askAgain("get-presence", { userIds })).users;
    }
    /** Asks to be told, by `presence`, how available users are, and says how they are now. It outlives connections. */
    async watchPresence(userIds) {
        this.#watched.add(userIds);
        return (await this.#askAgain("subscribe-presence", { userIds })).users;
    }
    async unwatchPresence(userIds) {
        this.#watched.remove(userIds);
        await this.#askAgain("unsubscribe-presence", { userIds });
    }
    /** A request to an extension plugin: its answer is the plugin's. */
    request(event, data) {
        this.#begin();
        return this.#connection.request(event, data, { timeoutMs: this.#timeoutMs });
    }
    /** Connects, unless it was done before or was ended. */
    #begin() {
        if (this.state === "idle")
            this.connect().catch(() => {
                /* whoever waits is told, and `closed` tells the others */
            });
    }
    #auth() {
        const { deviceId, autoAck } = this.#options;
        this.#said = this.#timeline.since();
        return {
            batch: true,
            since: this.#said,
            ...(deviceId !== undefined && { deviceId }),
            ...(autoAck !== undefined && { autoAck }),
            ...(this.#presence && { presence: this.#presence.status }),
        };
    }
    #welcomed(session) {
        this.#timeline.welcomed(session, this.#said);
        this.#events.emit("connected", session);
        const quietly = (error) => {
            if (error instanceof StentorError && error.code !== "DISCONNECTED")
                this.#events.emit("trouble", error);
        };
        if (this.#presence?.text !== undefined)
            this.#ask("presence-update", this.#presence).catch(quietly);
        // What changed while there was no connection is told as if it changed now.
        const tell = ({ users }) => users.forEach((user) => this.#events.emit("presence", user));
        for (const userIds of this.#watched.pages()) {
            this.#ask("subscribe-presence", { userIds }).then(tell).catch(quietly);
        }
        this.#outbox.pump();
    }
    async #transmit(data) {
        const apply = (ack) => {
            if (data.noEcho)
                this.#timeline.sent(ack);
        };
        return (await this.#connection.request("send-message", data, {
            timeoutMs: this.#timeoutMs,
            apply,
        }));
    }
    async #acknowledge(event, room, upTo = this.#timeline.cursor(room)?.seq) {
        if (upTo !== undefined)
            await this.#askAgain(event, { conversationId: room, upTo });
    }
    async #ask(event, data, again = false) {
        this.#begin();
        return (await this.#connection.request(event, data, { timeoutMs: this.#timeoutMs, again }));
    }
    /** Asks what does no harm if asked twice. */
    #askAgain(event, data) {
        return this.#ask(event, data, true);
    }
}
return { Stentor };
})();

export const { Stentor } = client;
export const { StentorError } = errors;
export const { Room } = room;
