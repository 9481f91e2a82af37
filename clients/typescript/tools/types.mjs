// TypeScript types from the schemas. It knows the few keywords that they use, and stops at any other.

const SUFFIX = { 'common.json': '', 'requests.json': 'Request', 'replies.json': 'Reply', 'pushes.json': 'Push' };

/** The name of the type that a reference becomes. */
function nameOf(reference, file) {
  const [other, name] = reference.split('#/$defs/');
  return name + SUFFIX[other || file];
}

function comment(text, indent) {
  return text ? `${indent}/** ${text}. */\n` : '';
}

function typeOf(schema, file, indent) {
  if (schema.$ref) return nameOf(schema.$ref, file);
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(' | ');
  const union = schema.anyOf ?? (schema.properties ? undefined : schema.oneOf);
  if (union) return union.map((each) => typeOf(each, file, indent)).join(' | ');
  if (schema.type === 'string' || schema.type === 'boolean') return schema.type;
  if (schema.type === 'integer') return 'number';
  if (schema.type === 'null') return 'null';
  if (schema.type === 'array') return `readonly (${typeOf(schema.items, file, indent)})[]`.replace(/\((\w+)\)/, '$1');
  if (schema.additionalProperties)
    return `Readonly<Record<string, ${typeOf(schema.additionalProperties, file, indent)}>>`;
  if (schema.properties) return object(schema, file, indent);
  // Data that depend on the event: whoever reads them says what they are.
  if (schema.type === 'object' || schema.type === undefined) return 'unknown';
  throw new Error(`no type for ${JSON.stringify(schema)}`);
}

function object({ properties, required = [] }, file, indent) {
  const inner = `${indent}  `;
  const fields = Object.entries(properties).map(
    ([key, schema]) =>
      `${comment(schema.description, inner)}${inner}readonly ${key}${required.includes(key) ? '' : '?'}: ${typeOf(schema, file, inner)};\n`,
  );
  return fields.length ? `{\n${fields.join('')}${indent}}` : 'Readonly<Record<string, never>>';
}

function definitions(file, { $defs }) {
  return Object.entries($defs).map(([name, schema]) => {
    const body = typeOf(schema, file, '');
    const isInterface = body.startsWith('{');
    const head = isInterface
      ? `export interface ${name}${SUFFIX[file]} ${body}`
      : `export type ${name}${SUFFIX[file]} = ${body};`;
    return `${comment(schema.description, '')}${head}\n`;
  });
}

export function types(events, parts) {
  const requests = Object.entries(events.requests).map(
    ([event, { summary, data, reply, ok }]) =>
      `${comment(summary, '  ')}  readonly "${event}": { readonly data: ${nameOf(data)}; readonly reply: ${nameOf(ok ?? events.replies[reply])} };\n`,
  );
  const pushes = Object.entries(events.pushes).map(
    ([event, { summary, data }]) => `${comment(summary, '  ')}  readonly "${event}": ${nameOf(data)};\n`,
  );
  return [
    '// Generated from src/wire/schema by tools/generate.mjs: do not edit.\n',
    ...Object.entries(parts).flatMap(([file, part]) => definitions(file, part)),
    `/** What can be asked, and what the answer is. */\nexport interface Requests {\n${requests.join('')}}\n`,
    `/** What the server sends unasked. */\nexport interface Pushes {\n${pushes.join('')}}\n`,
  ].join('\n');
}
