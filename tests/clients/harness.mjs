// Starts the real server for a test, and speaks its protocol through the npm package `ws`.
//
// Every server is a process of its own: on ports that the system chooses, in a directory that goes with it, without
// anything of the environment that could configure it. Everything that waits has an end, so a test that fails says what
// it waited for.

import { spawn, execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import { Watch } from './schemas.mjs';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const target = resolve(root, process.env.CARGO_TARGET_DIR || 'target');
export const binary = process.env.STENTOR_BINARY || join(target, 'release/stentor');

/** How long anything may take that normally takes milliseconds. Machines that run tests are busy. */
const PATIENCE_MS = 10_000;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** The promise, or an error that names what did not come. `what` may be a function, asked only then. */
export async function inTime(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not within ${ms} ms: ${typeof what === 'function' ? what() : what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What an interrupted test would leave behind: servers that still run, and their directories. */
const running = new Set();
const directories = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/**
 * Starts a development server. `settings` are keys of the configuration as environment variables name them, without
 * their prefix: `{ TIMING__PING_MS: 300 }`. `toml` is the text of a configuration file, for what no variable can say; a
 * server with a file is no development server unless the file says so.
 */
export async function startServer({ settings = {}, toml } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'stentor-test-'));
  directories.add(directory);
  if (toml) await writeFile(join(directory, 'stentor.toml'), toml);
  const listen = { LISTEN: '127.0.0.1:0', ADMIN__LISTEN: '127.0.0.1:0', LOG__FORMAT: 'json' };
  const env = { PATH: process.env.PATH, STENTOR__DATA_DIRECTORY: join(directory, 'data') };
  for (const [key, value] of Object.entries({ ...listen, ...settings })) env[`STENTOR__${key}`] = String(value);
  const place = { cwd: directory, env };
  let current;

  const server = {
    /** Ends the server; returns its exit code, or the signal that killed it. */
    async stop(signal = 'SIGTERM') {
      try {
        return await current?.stop(signal);
      } finally {
        await rm(directory, { recursive: true, force: true });
        directories.delete(directory);
      }
    },
    /** Ends the server and starts another in its place: the same addresses, the same directory. */
    async restart() {
      await current.stop();
      env.STENTOR__LISTEN = server.client;
      env.STENTOR__ADMIN__LISTEN = server.admin;
      current = await launch(place);
    },
    /** Changes the development configuration, in the file that the server then reads again, and waits until it has. */
    async reconfigure(change) {
      const printed = await promisify(execFile)(binary, ['config', 'print', '--development'], { ...place, timeout: PATIENCE_MS });
      const reloads = async () => /stentor_reloads_total\{result="ok"\} (\d+)/.exec(await (await fetch(`http://${server.admin}/metrics`)).text())[1];
      const before = await reloads();
      await writeFile(join(directory, 'stentor.toml'), change(printed.stdout));
      current.signal('SIGHUP');
      const changed = async () => { while (await reloads() === before) await sleep(20); };
      await inTime(changed(), 'the configuration is reloaded');
    },
    /** A token as an operator makes it: `stentor token --user NAME …`. */
    async token(user, ...args) {
      const run = promisify(execFile)(binary, ['token', '--user', user, ...args], { ...place, timeout: PATIENCE_MS });
      return (await run).stdout.trim();
    },
  };
  try {
    current = await launch(place);
  } catch (error) {
    await server.stop();
    throw error;
  }
  const { client, admin } = current;
  return Object.assign(server, { client, admin, ws: `ws://${client}/ws`, http: `http://${client}` });
}

/** Starts the process, and waits until it says where it listens. */
async function launch(place) {
  const child = spawn(binary, ['serve'], { ...place, stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  const logs = [];
  const exited = new Promise((done) => {
    child.once('error', (error) => { logs.push(error.message); done(error.message); });
    child.once('exit', (code, signal) => done(signal || code));
  });
  exited.then(() => running.delete(child));

  const stop = async (signal = 'SIGTERM') => {
    child.kill(signal);
    try {
      return await inTime(exited, 'the end of the server');
    } finally {
      child.kill('SIGKILL');
    }
  };

  const listening = new Promise((done, fail) => {
    let rest = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        logs.push(line);
        if (logs.length > 1000) logs.shift();
        if (line.includes('"listening"')) done(JSON.parse(line));
      }
    });
    exited.then((how) => fail(new Error(`the server ended (${how}) before it listened:\n${logs.join('\n')}`)));
  });
  try {
    const { client, admin } = await inTime(listening, () => `the server listens; it wrote:\n${logs.join('\n')}`);
    return { client, admin, stop, signal: (name) => child.kill(name) };
  } catch (error) {
    await stop('SIGKILL');
    throw error;
  }
}

/** A connection: requests with their replies, and everything else in the order in which it came. */
export class Client {
  #next = 1;
  #replies = new Map();
  #pushes = [];
  #waiting = [];
  /** Holds every frame against the schemas; what is not in them is thrown, and ends the test. */
  #watch = new Watch();

  constructor(socket) {
    this.socket = socket;
    const send = socket.send;
    socket.send = (data, ...more) => {
      if (typeof data === 'string') this.#watch.sent(data);
      return send.call(socket, data, ...more);
    };
    this.received = [];
    this.pings = 0;
    socket.on('message', (bytes) => this.#receive(JSON.parse(bytes.toString())));
    socket.on('ping', () => { this.pings++; });
    socket.on('error', () => {}); // what matters of it follows as a close
    this.closed = new Promise((done) => socket.once('close', (code, reason) => done({ code, reason: reason.toString() })));
  }

  /** Opens a socket; where the server refuses the handshake, the error has its `status`. */
  static async open(server, { protocols = ['stentor.v1'], path = '/ws', ...options } = {}) {
    const socket = new WebSocket(`ws://${server.client}${path}`, protocols, { perMessageDeflate: false, ...options });
    const client = new Client(socket);
    const open = new Promise((done, fail) => {
      socket.once('open', done);
      socket.once('error', fail);
      socket.once('unexpected-response', (_, response) => {
        fail(Object.assign(new Error(`HTTP ${response.statusCode}`), { status: response.statusCode }));
        socket.terminate();
      });
    });
    await inTime(open, 'the handshake');
    return client;
  }

  /** Opens a socket and authenticates by the event. */
  static async connect(server, user, auth = {}, options = {}) {
    const token = await server.token(user);
    const client = await Client.open(server, options);
    client.welcome = await client.expect('auth', { token, ...auth }, 'auth-success');
    return client;
  }

  #receive(message) {
    this.received.push(message);
    this.#watch.received(message);
    const asked = message.id !== undefined && this.#replies.get(message.id);
    if (asked) {
      this.#replies.delete(message.id);
      asked(message);
      return;
    }
    const index = this.#waiting.findIndex(({ wanted }) => wanted(message));
    if (index >= 0) this.#waiting.splice(index, 1)[0].done(message);
    else this.#pushes.push(message);
  }

  send(event, data) {
    this.socket.send(JSON.stringify({ event, data }));
  }

  /** Sends a request and waits for its reply, whatever it is. */
  async request(event, data) {
    const id = String(this.#next++);
    const reply = new Promise((done) => this.#replies.set(id, done));
    this.socket.send(JSON.stringify({ event, id, data }));
    return inTime(reply, `a reply to ${event}`);
  }

  /** Sends a request whose reply must be that event, and returns the reply's data. */
  async expect(event, data, reply) {
    const answer = await this.request(event, data);
    if (answer.event !== reply) throw new Error(`${event} was answered with ${JSON.stringify(answer)}`);
    return answer.data;
  }

  /** Sends a request that must be refused, and returns the refusal. */
  refused(event, data) {
    return this.expect(event, data, 'error');
  }

  /** The data of the next push of that event, and of that room if one is named. */
  async push(event, conversationId) {
    const wanted = (message) =>
      message.event === event && (conversationId === undefined || message.data.conversationId === conversationId);
    const index = this.#pushes.findIndex(wanted);
    if (index >= 0) return this.#pushes.splice(index, 1)[0].data;
    const push = new Promise((done) => this.#waiting.push({ wanted, done }));
    const seen = () => `${event}; pushed were ${JSON.stringify(this.#pushes.map((each) => each.event))}`;
    return (await inTime(push, seen)).data;
  }

  /** Waits until the server has dealt with all that was sent before. */
  async settle() {
    await this.expect('heartbeat', undefined, 'heartbeat-ack');
  }

  /** Closes, and waits for the server's part in it. */
  async close(code = 1000) {
    this.socket.close(code);
    return inTime(this.closed, 'the close');
  }
}
