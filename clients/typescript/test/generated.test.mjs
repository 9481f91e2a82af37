// What is generated from the schemas, and what the schemas themselves must be.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const read = (name) => JSON.parse(readFileSync(path(`../../../src/wire/schema/${name}`), 'utf8'));

test('frames, the AsyncAPI document and the types are what the schemas make them', () => {
  execFileSync(process.execPath, [path('../tools/generate.mjs'), '--check'], { stdio: 'inherit' });
});

test('the demo page has the client that these sources build', () => {
  execFileSync(process.execPath, [path('../tools/bundle.mjs'), '--check'], { stdio: 'inherit' });
});

test('every reference leads somewhere', () => {
  const follow = (value, file) => {
    if (Array.isArray(value)) return value.forEach((each) => follow(each, file));
    if (value === null || typeof value !== 'object') return;
    if (typeof value.$ref === 'string') {
      const [other, pointer] = value.$ref.split('#/');
      let found = read(other.replace('./', '') || file);
      for (const key of pointer.split('/')) found = found?.[decodeURIComponent(key).replaceAll('~1', '/')];
      assert.ok(found, `${file}: ${value.$ref}`);
    }
    Object.values(value).forEach((each) => follow(each, file));
  };
  for (const file of ['common.json', 'requests.json', 'replies.json', 'pushes.json', 'frames.json', 'asyncapi.json'])
    follow(read(file), file);
});

test('the error codes are those of the protocol document, and all its events have schemas', () => {
  const document = readFileSync(path('../../../src/protocol.md'), 'utf8');
  const events = read('events.json');
  const known = new Set(Object.entries(events.requests).flatMap(([event, { aliases = [] }]) => [event, ...aliases]));
  for (const names of [events.replies, events.pushes]) Object.keys(names).forEach((event) => known.add(event));
  const [table] = document.split('## Transport');
  const named = [...table.matchAll(/`([a-z]+(?:-[a-z]+)*)`/g)].map(([, name]) => name).filter((name) => name !== 'seq');
  assert.deepEqual(
    named.filter((name) => !known.has(name)),
    [],
  );
  const codes = new Set(read('common.json').$defs.ErrorCode.enum);
  const rows = [...document.matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, code]) => code);
  assert.ok(rows.length > 10);
  assert.deepEqual(
    rows.filter((code) => !codes.has(code)),
    [],
  );
});
