// The README's examples as they are printed, against the real server; those that it does not mark are checked by types.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { options, startServer } from './support.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const blocks = async () => [...(await readFile(join(root, 'README.md'), 'utf8')).matchAll(/(<!-- run -->\n)?```js\n(.*?)```/gs)]
  .map(([, run, code]) => ({ run: Boolean(run), code }));

/** The blocks in one module: what stands in place of an application around them comes first. */
function moduleOf(codes, around) {
  const imports = /^import .*$/gm;
  const lines = [...new Set([...around.matchAll(imports), ...codes.flatMap((code) => [...code.matchAll(imports)])].map(([line]) => line))];
  return [...lines, around.replace(imports, ''), ...codes.map((code) => code.replace(imports, ''))].join('\n');
}

/** Fails with what the compiler says of a file that uses the package. */
async function compile(file) {
  const settings = ['--noEmit', '--strict', '--noUncheckedIndexedAccess', '--target', 'es2022', '--module', 'nodenext'];
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, ...settings, file], { cwd: root, timeout: 60_000 }).catch(({ stdout }) => assert.fail(stdout));
}

describe('the README', options, () => {
  let server, directory;
  before(async () => {
    server = await startServer();
    // Inside the package, so that its name means itself.
    directory = await mkdtemp(join(root, 'dist/readme-'));
  });
  after(async () => {
    await rm(directory, { recursive: true, force: true });
    await server?.stop();
  });

  test('its examples run', async () => {
    const codes = (await blocks()).filter(({ run }) => run).map(({ code }) => code);
    assert.ok(codes.length >= 4);
    const around = [
      'import { WebSocket } from "ws";',
      'globalThis.WebSocket ??= WebSocket;',
      'const fetchToken = async () => process.env.TOKEN;',
    ].join('\n');
    const text = `${moduleOf(codes, around)}\nawait chat.history("lobby");\nchat.close();\n`.replace('wss://chat.example.com/ws', server.ws);
    await writeFile(join(directory, 'examples.mjs'), text);
    const env = { PATH: process.env.PATH, TOKEN: await server.token('alice') };
    const { stdout } = await promisify(execFile)(process.execPath, [join(directory, 'examples.mjs')], { env, timeout: 30_000 });
    const lines = stdout.split('\n');
    assert.ok(lines.includes('alice: Hello!'), stdout);
    assert.ok(lines.includes("now it is { text: 'Lunch at two?' }"), stdout);
    assert.ok(lines.some((line) => line.startsWith('message-policy says forbidden_word')), stdout);
    assert.ok(lines.includes("[ 'alice' ]"), stdout);
    assert.ok(lines.some((line) => line.startsWith('over (1000')), stdout);
  });

  test('what the types allow and what they do not', async () => {
    await compile(join(root, 'test/types.mts'));
  });

  test('all its examples have the right types', async () => {
    const around = ['declare const fetchToken: () => Promise<string>;', 'declare const input: HTMLInputElement;'].join('\n');
    await writeFile(join(directory, 'examples.mts'), moduleOf((await blocks()).map(({ code }) => code), around));
    await compile(join(directory, 'examples.mts'));
  });
});
