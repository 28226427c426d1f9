/** Whether a session could ever call a tool, or send to a host with it. Pure. */
import { callFacts, evaluateCall } from '../actions/evaluate-call.ts';
import type { Json, JsonObject, Task } from '../core/vocabulary.ts';
import { entityReferences, hostOf } from '../manifests/call-arguments.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Input } from '../manifests/manifest.ts';
import { matchesWhole } from '../manifests/pattern.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { referencesOf, substitute } from '../manifests/template.ts';
import type { Argument, Tool } from '../manifests/tool-schema.ts';
import { type Finding, freshSession, type WhoCanDeps } from './finding.ts';
import { caseless, common, type Language, languageOf, oneOfThese, only, sequence } from './pattern-language.ts';
import { exampleOf, shapeLanguage, valuesListed } from './possible-values.ts';

export function callFinding(
  deps: WhoCanDeps,
  published: PublishedManifest,
  name: string,
  tool: Tool,
  taskType: string,
  host: string | null,
): Finding {
  const { manifest } = published.compiled;
  const base = { agent: published.agent, version: published.version, name, task_type: taskType };
  if (host !== null && tool.destination.length === 0)
    return { ...base, answer: 'cannot_tell', because: ['the manifest does not say where this tool sends'] };
  const inputs = manifest.task_types[taskType]?.inputs ?? {};
  const doubts: string[] = [];
  let possible = false;
  for (const path of host === null ? [null] : tool.destination) {
    for (const { value, given } of path === null
      ? [{ value: null, given: new Map() }]
      : valuesTo(host!, tool.args[path], inputs, doubts)) {
      possible = true;
      const task: Task = { task_type: taskType, inputs: exampleInputs(inputs, given) };
      const args = exampleArguments(tool, task, path === null ? {} : { [path]: value });
      const asked = { tool: name, args, costMicroUsd: null };
      const facts = callFacts(manifest, task, asked);
      const session = freshSession(published.agent, task, deps.now);
      const { decision } = evaluateCall(published, session, asked, facts, new Map(), deps.now, deps.digest);
      if (decision.effect === 'allow') {
        const rules = compiledCalls(manifest).rules.filter(
          ({ on, effect }) => effect !== 'flag' && (on.tools === null || on.tools.includes(name)),
        );
        const because =
          rules.length === 0 ? [] : [`unless a rule stands against it: ${rules.map(({ id }) => id).join(', ')}`];
        return { ...base, answer: 'yes', example: { inputs: task.inputs, arguments: args }, because };
      }
      doubts.push(...decision.reasons.map(({ code, policy_id, advice }) => `${policy_id ?? code}: ${advice ?? code}`));
    }
  }
  if (possible || doubts.length > 0) return { ...base, answer: 'cannot_tell', because: [...new Set(doubts)] };
  return { ...base, answer: 'no', because: ['no value of its destinations leads there'] };
}

/** Ways in which a text may lead to a host, as `hostOf` reads them. */
const formsTo = (host: string): Language => {
  const at = only(host);
  const scheme = languageOf('[a-z][a-z0-9+.-]*://(?:[^/?#@\\\\ ]*@)?');
  const behind = languageOf('(?:[:/?#].*)?');
  const mailbox = languageOf('[^@<>()\\[\\]",:;/?# ]+@');
  return caseless(
    oneOfThese([
      sequence([scheme, at, behind]),
      sequence([mailbox, at]),
      sequence([at, languageOf('(?::[0-9]+)?(?:/[^@]*)?')]),
    ]),
  );
};

/** Values of a destination that lead to the host, and the inputs that they come from. */
function valuesTo(
  host: string,
  limit: Argument | undefined,
  inputs: { [name: string]: Input },
  doubts: string[],
): { value: Json; given: Map<string, Json> }[] {
  const leads = (value: Json) => hostOf(String(value).normalize('NFKC').trim().toLowerCase()) === host;
  const written =
    typeof limit === 'object' ? [limit.equals ?? limit.enum ?? []].flat() : limit === undefined ? [] : [limit];
  if (written.length === 0) {
    const pattern = typeof limit === 'object' ? limit.pattern : undefined;
    if (pattern === undefined)
      return [`https://${host}/`, host, `someone@${host}`].filter(leads).map((value) => ({ value, given: new Map() }));
    return within(languageOf(pattern), (text) => matchesWhole(pattern, text)).map((value) => ({
      value,
      given: new Map(),
    }));
  }
  return written.flatMap((one): { value: Json; given: Map<string, Json> }[] => {
    const names = typeof one === 'string' ? referencesOf(one).inputs : [];
    if (names.length === 0) return leads(one) ? [{ value: one, given: new Map() }] : [];
    const [name] = names;
    const shape = inputs[name!];
    if (names.length > 1 || shape === undefined || one !== `\${inputs.${name}}`) {
      doubts.push(`what ${String(one)} may be, put together from inputs, is not told`);
      return [];
    }
    const values =
      valuesListed(shape) ??
      (shape.type === 'string' ? within(shapeLanguage(shape), (text) => matchesWhole(shape.pattern!, text)) : []);
    return values.filter(leads).map((value) => ({ value, given: new Map([[name!, value]]) }));
  });

  function within(language: Language, takes: (text: string) => boolean): string[] {
    try {
      const met = common(language, formsTo(host));
      if (met === null) return [];
      if (takes(met.text) && leads(met.text)) return [met.text];
      doubts.push('its pattern has something in common with addresses of the host, and no example was found');
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      doubts.push(error.message);
    }
    return [];
  }
}

const exampleInputs = (inputs: { [name: string]: Input }, given: ReadonlyMap<string, Json>): Task['inputs'] =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, shape]) => [name, given.get(name) ?? exampleOf(shape)]),
  ) as Task['inputs'];

/** Arguments that the manifest takes: those that it asks for, and what it makes an entity of. */
function exampleArguments(tool: Tool, task: Task, given: JsonObject): JsonObject {
  // Without a prototype: a path may have any name in it.
  const args: JsonObject = Object.create(null);
  const put = (path: string, value: Json) => {
    const parts = path.split('.');
    const last = parts.pop()!;
    let into = args;
    for (const part of parts) {
      into[part] ??= Object.create(null) as JsonObject;
      into = into[part] as JsonObject;
    }
    into[last] ??= value;
  };
  for (const [path, value] of Object.entries(given)) put(path, value);
  for (const [path, limit] of Object.entries(tool.args))
    if (typeof limit !== 'object' || !limit.optional) put(path, exampleArgument(limit, task));
  for (const path of tool.entity === undefined ? [] : entityReferences(tool.entity)) put(path, 'a');
  return args;
}

function exampleArgument(limit: Argument, task: Task): Json {
  const value = typeof limit === 'object' ? (limit.equals ?? limit.enum?.[0]) : limit;
  if (value !== undefined) return substitute(value, task.inputs);
  if (typeof limit !== 'object') return limit;
  if (limit.pattern !== undefined) {
    const text = common(languageOf(limit.pattern), languageOf('.*'))?.text;
    return text ?? 'a';
  }
  return limit.min ?? limit.max ?? 'a';
}
