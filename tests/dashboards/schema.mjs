// Checks dashboards against Grafana's own types: `node schema.mjs FILE…`. Prints every fault, and exits 1 if there is
// any.
//
// Each JSON file is compiled as a TypeScript literal of the type that schema.ts makes of Grafana's: an unknown name, a
// missing one, a value of the wrong type and a word that is not in its enum are errors of the compiler.

import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = dirname(fileURLToPath(import.meta.url));
const files = process.argv.slice(2);
if (files.length === 0) {
  console.error('usage: node schema.mjs FILE…');
  process.exit(64);
}

/** Sources that are in no file: one for each dashboard. */
const sources = new Map();
for (const file of files) {
  const literal = readFileSync(file, 'utf8');
  JSON.parse(literal);
  sources.set(
    join(here, `${basename(file, '.json')}.check.ts`),
    `import type { Dashboard } from './schema';\nexport const dashboard: Dashboard =\n${literal};\n`,
  );
}

const options = {
  strict: true,
  noEmit: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  module: ts.ModuleKind.ESNext,
  target: ts.ScriptTarget.ES2022,
  // By paths alone, because the package exports its parts under other names than those of their files.
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  baseUrl: here,
  paths: { '@grafana/schema/dist/*': ['node_modules/@grafana/schema/dist/*'] },
  types: [],
};
const host = ts.createCompilerHost(options);
const { getSourceFile, fileExists, readFile } = host;
host.fileExists = (name) => sources.has(name) || fileExists(name);
host.readFile = (name) => sources.get(name) ?? readFile(name);
host.getSourceFile = (name, version, ...rest) =>
  sources.has(name) ? ts.createSourceFile(name, sources.get(name), version) : getSourceFile(name, version, ...rest);

const program = ts.createProgram([...sources.keys()], options, host);
const faults = ts.getPreEmitDiagnostics(program);
for (const fault of faults) {
  const { line } = fault.file?.getLineAndCharacterOfPosition(fault.start ?? 0) ?? { line: 0 };
  // The literal begins in the third line of its source.
  const file = fault.file ? basename(fault.file.fileName).replace('.check.ts', '.json') : 'schema.mjs';
  console.error(`${file}:${line - 1}: ${ts.flattenDiagnosticMessageText(fault.messageText, '\n  ')}`);
}
if (faults.length > 0) process.exit(1);
console.log(`${files.length} dashboards are as Grafana's types have them`);
