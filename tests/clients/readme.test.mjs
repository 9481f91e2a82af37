// Does what README.md tells its reader to do, so that no command or message in it can go stale.
//
// What is done with a fenced block, its language and the comment before it say (the comment is a line of its own, blank
// lines between it and the block do not matter):
//
//   ```sh                                     is run, and must exit 0
//   <!-- server --> ```sh                     is run in the background until something listens where a development
//                                             server does; ended at the next such block, or at the end
//   <!-- not run: REASON --> ```sh            is not run; the reason is printed
//   ```toml                                   is a configuration, or a part of one: `stentor check` must accept it
//   <!-- not run: REASON --> ```toml          is something else
//   <!-- session --> ```text                  lines `→ {…}` are sent to a server, lines `← {…}` must be what it sends
//   <!-- session: bob --> ```text             the same for another user than alice
//   <!-- session at the server: bob -->       the same with the server that runs in the background
//
// Blocks run one after another as if typed into one shell in the repository's root: a variable set in one is there in
// the next. Only the data directory is another than the reader's.
//
// In a session every message must be there, in order, with the keys that are printed and no others. Values must be equal
// but for ids and times, which are another's every time; an id that was received may be sent later, as printed. `…` stands
// for whatever is there: as a value `"…"`, `{…}` or `[…]`, for further keys `{"a":1,…}`, for any number of messages `← …`.
// What is sent as a token is replaced by a good one. Blank lines and lines that begin with # are for the reader alone.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { Client, binary, inTime, root, sleep, startServer } from './harness.mjs';

const readme = process.env.STENTOR_README || join(root, 'README.md');
/** A block may build the server from nothing. */
const BLOCK_MS = 20 * 60_000;
/** Where a development server listens. */
const PORTS = [3001, 3002];
const SHELLS = ['bash', 'shell', 'console', 'zsh', 'shell-session', 'terminal'];

/* ------------------------------------------------------------------ Finding the blocks */

function blocksOf(markdown) {
  const blocks = [];
  let open = null;
  let comment = null;
  markdown.split('\n').forEach((line, index) => {
    const [, indent, fence, language] = /^( *)(`{3,}|~{3,}) *([^\s`]*)/.exec(line) || [];
    if (open) {
      if (fence?.startsWith(open.fence) && !language) {
        blocks.push(open);
        open = comment = null;
      } else {
        open.lines.push(line.slice(Math.min(open.indent.length, line.length - line.trimStart().length)));
      }
    } else if (fence) {
      open = { indent, fence, language, comment, line: index + 1, lines: [] };
    } else if (line.trim()) {
      comment = /^\s*<!--\s*(.*?)\s*-->\s*$/.exec(line)?.[1] ?? null;
    }
  });
  assert.equal(open, null, `the block of line ${open?.line} does not end`);
  return blocks;
}

/** What is to be done with a block. */
function kindOf({ language, comment, lines }) {
  const marker = /^(session at the server|session|server|not run)(?:\s*:\s*(.+))?$/.exec(comment || '');
  const looksLikeSession = lines.some((line) => /^[→←] /.test(line));
  if (marker?.[1].startsWith('session') && language === 'text') {
    return { kind: 'session', user: marker[2] || 'alice', isAtTheServer: marker[1] !== 'session' };
  }
  if (looksLikeSession) return { kind: 'wrong', why: 'a session is a ```text block behind <!-- session -->' };
  if (SHELLS.includes(language)) return { kind: 'wrong', why: `write \`\`\`sh instead of \`\`\`${language}, so that it is run` };
  const skipped = marker?.[1] === 'not run' && (marker[2] ? { kind: 'not run', why: marker[2] } : { kind: 'wrong', why: 'say why it is not run' });
  if (language === 'toml' && (skipped || !marker)) return skipped || { kind: 'configuration' };
  if (language !== 'sh') return marker ? { kind: 'wrong', why: `<!-- ${comment} --> stands before a block of another kind` } : { kind: 'other' };
  return skipped || { kind: marker?.[1] === 'server' ? 'server' : 'run' };
}

/* ------------------------------------------------------------------ Commands */

const scratch = mkdtempSync(join(tmpdir(), 'stentor-readme-'));
const variables = join(scratch, 'variables');
let background = null;
let sessions = null;
/** Groups of processes that still run, so that an interrupted test leaves none behind. */
const groups = new Set();
process.on('exit', () => {
  for (const group of groups) try { process.kill(-group, 'SIGKILL'); } catch { /* it has ended */ }
  rmSync(scratch, { recursive: true, force: true });
});

after(async () => {
  await endBackground();
  await sessions?.then((server) => server.stop());
});

/** Runs a block as the next lines of one shell: with the variables and in the directory that the last one left. */
function shell(script, { keep }) {
  const file = join(scratch, 'block.sh');
  const restore = `test ! -e ${variables} || . ${variables}\nset -euo pipefail -o allexport\n`;
  writeFileSync(file, `${restore}${script}\n${keep ? `{ export -p; printf 'cd %q\\n' "$PWD"; } >${variables}` : ''}\n`);
  const env = { ...process.env, STENTOR__DATA_DIRECTORY: join(scratch, 'data') };
  // A group of its own, so that all that the block starts can be ended with it.
  const child = spawn('bash', [file], { cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  groups.add(child.pid);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => { output = (output + text).slice(-20_000); });
  }
  const ended = new Promise((done) => child.once('exit', (code, signal) => done(signal || code)));
  const end = async () => {
    for (const signal of ['SIGTERM', 'SIGKILL']) {
      try {
        process.kill(-child.pid, signal);
        await inTime(ended, 'the end of a block');
      } catch { /* it has ended already, or needs the stronger signal */ }
    }
    groups.delete(child.pid);
  };
  return { ended, end, output: () => output };
}

async function run(script) {
  const block = shell(script, { keep: true });
  try {
    const how = await inTime(block.ended, () => `the end of the block; it wrote:\n${block.output()}`, BLOCK_MS - 30_000);
    assert.equal(how, 0, `it ended with ${how} and wrote:\n${block.output()}`);
  } finally {
    await block.end();
  }
}

/** The shell ends at once, but the server that it started first drains: it is gone when nobody listens any more. */
async function endBackground() {
  if (!background) return;
  await background.end();
  background = null;
  const deadline = Date.now() + 30_000;
  while ((await Promise.all(PORTS.map(listens))).some(Boolean)) {
    assert.ok(Date.now() < deadline, 'the server of the last block still listens');
    await sleep(50);
  }
}

function listens(port) {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => { socket.destroy(); done(true); });
    socket.once('error', () => done(false));
  });
}

async function serve(script) {
  await endBackground();
  for (const port of PORTS) assert.equal(await listens(port), false, `port ${port} is taken: stop what listens there, the README's server needs it`);
  background = shell(script, { keep: false });
  let ended = null;
  background.ended.then((how) => { ended = how; });
  const deadline = Date.now() + BLOCK_MS - 30_000;
  for (;;) {
    const up = await Promise.all(PORTS.map(listens));
    if (up.every(Boolean)) return;
    assert.equal(ended, null, `it ended with ${ended} and wrote:\n${background.output()}`);
    assert.ok(Date.now() < deadline, `nothing listens; it wrote:\n${background.output()}`);
    await sleep(100);
  }
}

/** A part of a configuration gets a key by the environment, and every variable that it names is set. */
async function check(text) {
  const file = join(scratch, 'stentor.toml');
  writeFileSync(file, text);
  const env = { PATH: process.env.PATH, JWT_SECRET: randomBytes(32).toString('hex') };
  for (const [, name] of text.matchAll(/secret_env *= *"(\w+)"/g)) env[name] = randomBytes(32).toString('hex');
  const checked = promisify(execFile)(binary, ['check', '--config', file], { cwd: scratch, env, timeout: 60_000 });
  await checked.catch((error) => assert.fail(`stentor check exited with ${error.code}:\n${error.stdout}${error.stderr}`));
}

/* ------------------------------------------------------------------ Sessions */

const ANY = '…';
/** Keys whose values are other ones every time. */
const VOLATILE = new Set(['messageId', 'epoch', 'sessionId', 'node', 'token', 'at', 'sentAt', 'editedAt', 'deletedAt', 'expiresAt', 'lastSeenAt', 'reconnectInMs']);

/** Reads a printed message, with `…` where something is left out. */
function printed(text, line) {
  const json = text
    .replace(/\{\s*…\s*\}|\[\s*…\s*\]/g, '"…"')
    .replace(/,\s*…\s*(?=[}\]])/g, ',"…":"…"')
    .replace(/:\s*…/g, ':"…"');
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Error(`line ${line} is not a message: ${error.message}\n${text}`);
  }
}

/** Says where two messages differ, or nothing. Ids that differ are noted in `ids`, the printed one with the real one. */
function difference(wanted, found, ids, path = '', key = '') {
  if (wanted === ANY) return null;
  if (Array.isArray(wanted) && Array.isArray(found)) {
    if (wanted.length !== found.length) return `${path} has ${found.length} entries, printed are ${wanted.length}`;
    return wanted.map((each, i) => difference(each, found[i], ids, `${path}[${i}]`, key)).find(Boolean) || null;
  }
  const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
  if (isObject(wanted) && isObject(found)) {
    const missing = Object.keys(wanted).filter((name) => name !== ANY && !(name in found));
    const further = ANY in wanted ? [] : Object.keys(found).filter((name) => !(name in wanted));
    if (missing.length) return `${path} lacks ${missing.join(', ')}`;
    if (further.length) return `${path} also has ${further.join(', ')}`;
    return Object.keys(wanted).filter((name) => name !== ANY)
      .map((name) => difference(wanted[name], found[name], ids, `${path}.${name}`, name)).find(Boolean) || null;
  }
  if (VOLATILE.has(key) && typeof wanted === typeof found) {
    if (typeof wanted === 'string') ids.set(wanted, found);
    return null;
  }
  return wanted === found ? null : `${path} is ${JSON.stringify(found)}, printed is ${JSON.stringify(wanted)}`;
}

/** A message as it is to be sent: with the real ids in place of the printed ones. */
function real(value, ids) {
  if (Array.isArray(value)) return value.map((each) => real(each, ids));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [ids.get(key) ?? key, real(each, ids)]));
  }
  return ids.get(value) ?? value;
}

/** Ids that were printed, and what they are this time; sessions of one page speak of the same messages. */
const ids = new Map();

/** The server of the last `<!-- server -->` block, which has its key in the data directory of all blocks. */
function serverInBackground() {
  assert.ok(background, 'no server runs in the background');
  const [port] = PORTS;
  const env = { ...process.env, STENTOR__DATA_DIRECTORY: join(scratch, 'data') };
  const token = async (user) => {
    const run = promisify(execFile)(binary, ['token', '--user', user], { cwd: root, env, timeout: 60_000 });
    return (await run).stdout.trim();
  };
  return { client: `127.0.0.1:${port}`, token };
}

async function play(block, user, isAtTheServer) {
  if (!isAtTheServer) sessions ??= startServer();
  const server = isAtTheServer ? serverInBackground() : await sessions;
  const client = await Client.open(server, { protocols: [] });
  try {
    await converse(block, client, () => server.token(user));
  } finally {
    await client.close();
  }
}

async function converse({ lines, line: first }, client, makeToken) {
  let position = 0;
  const next = async (wanted) => {
    const deadline = Date.now() + 10_000;
    while (client.received.length <= position) {
      assert.ok(Date.now() < deadline, `nothing more came, printed is ${wanted}; received so far:\n${transcript(client)}`);
      await sleep(5);
    }
    return client.received[position++];
  };
  let skipping = false;
  for (const [index, text] of lines.entries()) {
    const [, direction, body] = /^([→←]) ?(.*)$/.exec(text) || [];
    if (!text.trim() || text.startsWith('#')) continue;
    assert.ok(direction, `line ${first + index + 1} is no part of a session: ${text}`);
    if (direction === '→') {
      const message = real(printed(body, first + index + 1), ids);
      if (message.event === 'auth') {
        const token = await makeToken();
        if (typeof message.data === 'string') message.data = token; else message.data.token = token;
      }
      client.socket.send(JSON.stringify(message));
    } else if (body.trim() === ANY) {
      skipping = true;
    } else {
      const wanted = printed(body, first + index + 1);
      for (;;) {
        const found = await next(body);
        const different = difference(wanted, found, ids);
        if (!different) break;
        assert.ok(skipping, `line ${first + index + 1}: ${different}\nprinted:  ${body}\nreceived: ${JSON.stringify(found)}`);
      }
      skipping = false;
    }
  }
  if (!skipping) {
    // Whatever was caused is written before this answer.
    client.socket.send('{"event":"heartbeat","id":"the end"}');
    const last = await next('nothing');
    assert.equal(last.id, 'the end', `received, but not printed: ${JSON.stringify(last)}`);
  }
}

const transcript = (client) => client.received.map((message) => JSON.stringify(message)).join('\n');

/* ------------------------------------------------------------------ The tests */

const blocks = blocksOf(readFileSync(readme, 'utf8'));
let done = 0;
for (const block of blocks) {
  const { kind, why, user, isAtTheServer } = kindOf(block);
  if (kind === 'other') continue;
  const summary = block.lines.find((line) => line.trim()) || '';
  const name = `line ${block.line}, ${kind}: ${summary}`;
  const options = { timeout: BLOCK_MS };
  if (kind === 'not run') test(name, { skip: why }, () => {});
  if (kind === 'wrong') test(name, () => assert.fail(`${readme}:${block.line}: ${why}`));
  if (kind === 'run') test(name, options, () => run(block.lines.join('\n')));
  if (kind === 'server') test(name, options, () => serve(block.lines.join('\n')));
  if (kind === 'configuration') test(name, options, () => check(block.lines.join('\n')));
  if (kind === 'session') test(name, options, () => play(block, user, isAtTheServer));
  if (['run', 'server', 'configuration', 'session'].includes(kind)) done++;
}
test('there is something to try', () => assert.ok(done > 0, `nothing in ${readme} can be tried`));
