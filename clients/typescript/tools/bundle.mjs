// Puts the client into one file, for pages that have no build step: the demo page of a development server.
//
//   src/net/demo/stentor-client.js   all of dist, each module a function of its own, so that names do not meet
//
// `node tools/bundle.mjs` writes it from what `npm run build` made; with `--check` it only says whether it is current.
// It knows the few forms of import and export that tsc writes for this package, and stops at any other.

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const dist = resolve(here, '../dist');
const bundle = resolve(here, '../../../src/net/demo/stentor-client.js');
const ENTRY = 'index';

const IMPORT = /^import \{ ([^}]+) \} from "\.\/(\w+)\.js";\n/gm;
const REEXPORT = /^export \{ ([^}]+) \} from "\.\/(\w+)\.js";\n/gm;
const EXPORT = /^export (?=(?:async )?(?:class|function|const) (\w+))/gm;
const NOTHING = /^export \{\};\n/gm;

/** A module's code without its imports and exports, and what these say. */
function readModule(name) {
  const imports = [];
  const exports = [];
  const note = (found) => (_, names, from) => (found.push({ names, from }), '');
  const reexports = [];
  const code = readFileSync(join(dist, `${name}.js`), 'utf8')
    .replace(IMPORT, note(imports))
    .replace(REEXPORT, note(reexports))
    .replace(EXPORT, (_, exported) => (exports.push(exported), ''))
    .replace(NOTHING, '');
  const left = /^(?:import|export)\b.*/m.exec(code);
  if (left) throw new Error(`${name}.js: this form is not known here: ${left[0]}`);
  return { name, imports, reexports, exports, code: code.trim() };
}

/** The modules that the entry needs, each behind those that it needs itself. */
function inOrder(entry) {
  const done = new Map();
  const visit = (name, above) => {
    if (above.includes(name)) throw new Error(`modules need each other: ${[...above, name].join(' → ')}`);
    if (done.has(name)) return;
    const module = readModule(name);
    for (const { from } of [...module.imports, ...module.reexports]) visit(from, [...above, name]);
    done.set(name, module);
  };
  visit(entry, []);
  return [...done.values()];
}

function written(module) {
  const imports = module.imports.map(({ names, from }) => `const { ${names} } = ${from};\n`).join('');
  if (!module.exports.length) return '';
  return `const ${module.name} = (() => {\n${imports}${module.code}\nreturn { ${module.exports.join(', ')} };\n})();\n`;
}

const modules = inOrder(ENTRY);
const entry = modules.at(-1);
const text = [
  '// The client of clients/typescript in one file. Made by its tools/bundle.mjs: do not edit.\n',
  ...modules.slice(0, -1).map(written),
  entry.reexports.map(({ names, from }) => `export const { ${names} } = ${from};\n`).join(''),
].join('\n');

if (!process.argv.includes('--check')) {
  writeFileSync(bundle, text);
} else {
  let present = '';
  try {
    present = readFileSync(bundle, 'utf8');
  } catch {
    /* what is missing is stale */
  }
  if (present !== text) {
    console.error('src/net/demo/stentor-client.js is not what the client builds: npm run build, then npm run bundle');
    process.exitCode = 1;
  }
}
