// Makes what follows from the protocol's schemas, so that nothing is written down twice:
//
//   src/wire/schema/frames.json     the schema of every whole frame, in both directions
//   src/wire/schema/asyncapi.json   an AsyncAPI 3 document of them
//   clients/typescript/src/protocol.ts   the types of this client
//
// `node tools/generate.mjs` writes them; with `--check` it only says which are no longer what the schemas make them.

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { asyncapi } from './asyncapi.mjs';
import { frames } from './frames.mjs';
import { types } from './types.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../../..');
const schemas = join(root, 'src/wire/schema');
const read = (name) => JSON.parse(readFileSync(join(schemas, name), 'utf8'));

const events = read('events.json');
const parts = Object.fromEntries(['common', 'requests', 'replies', 'pushes'].map((name) => [`${name}.json`, read(`${name}.json`)]));
const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
const made = new Map([
  [join(schemas, 'frames.json'), json(frames(events, parts))],
  [join(schemas, 'asyncapi.json'), json(asyncapi(events))],
  [join(here, '../src/protocol.ts'), types(events, parts)],
]);

let stale = 0;
for (const [path, text] of made) {
  if (!process.argv.includes('--check')) {
    writeFileSync(path, text);
    continue;
  }
  let present = '';
  try { present = readFileSync(path, 'utf8'); } catch { /* what is missing is stale */ }
  if (present !== text) {
    stale++;
    console.error(`${path.slice(root.length + 1)} is not what the schemas make it: npm run generate`);
  }
}
process.exitCode = stale ? 1 : 0;
