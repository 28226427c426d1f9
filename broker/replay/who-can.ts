/**
 * Which sessions could ever do something, over manifests: every capability with every value that its
 * parameters may have. By enumeration where values are listed, by comparing patterns where they are not.
 * Pure.
 *
 * "No" is said where no value can come to it; "yes" with a session that the real evaluation lets through, on
 * a history without anything in it; what is neither is said to be so, and why. What a rule lets pass only
 * after something else was done, or what the target itself forbids, is beyond it.
 */
import type { Provider, Reach } from '../../providers/contract.ts';
import type { Digest } from '../actions/cells.ts';
import { callFacts, evaluateCall, grantFacts } from '../actions/evaluate-call.ts';
import { ruleHolds } from '../actions/rules.ts';
import { WritError } from '../core/errors.ts';
import type { Json, JsonObject, Plan, Task } from '../core/vocabulary.ts';
import { evaluate } from '../grants/evaluate.ts';
import { bindParams } from '../manifests/bind.ts';
import { entityReferences, hostOf } from '../manifests/call-arguments.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Capability, Choice, Input } from '../manifests/manifest.ts';
import { matchesWhole } from '../manifests/pattern.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { referencesOf, substitute, textsOf } from '../manifests/template.ts';
import type { Argument, Tool } from '../manifests/tool-schema.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import {
  asHole,
  caseless,
  common,
  type Language,
  languageOf,
  oneOfThese,
  only,
  sequence,
  wildcards,
} from './pattern-language.ts';

export type Question = { provider: string; action: string; resource: string } | { tool: string } | { host: string };

export interface Finding {
  agent: string;
  version: number;
  /** The capability or the tool. */
  name: string;
  task_type: string;
  answer: 'yes' | 'no' | 'cannot_tell';
  /** A session that could, with what it would ask for. */
  example?: { inputs: Task['inputs']; params?: JsonObject; arguments?: JsonObject; needs_approval?: true };
  /** Conditions of a yes; reasons of the rest. */
  because: string[];
}

export interface WhoCanDeps {
  providers: ReadonlyMap<string, Provider>;
  digest: Digest;
  now: Date;
}

export function whoCan(deps: WhoCanDeps, published: PublishedManifest, question: Question): Finding[] {
  const { manifest } = published.compiled;
  if ('provider' in question)
    return Object.entries(manifest.capabilities)
      .filter(([, { provider }]) => provider === question.provider)
      .flatMap(([name, capability]) =>
        capability.tasks.map((task) => capabilityFinding(deps, published, name, capability, task, question)),
      );
  const tools = Object.entries(manifest.tools ?? {});
  return tools
    .filter(([name]) => !('tool' in question) || name === question.tool)
    .flatMap(([name, tool]) => {
      const tasks = tool.tasks ?? Object.keys(manifest.task_types);
      return tasks.map((task) =>
        toolFinding(deps, published, name, tool, task, 'host' in question ? question.host : null),
      );
    });
}

// Capabilities.

/** What a value that nobody chose yet may be. */
interface Open {
  /** `inputs.NAME` or `choose.NAME`. */
  name: string;
  kind: 'inputs' | 'choose';
  key: string;
  shape: Input | Choice;
}

/** What no value from outside may have in it (`manifests/unsafe-text.ts`). */
const neverInValues = ['*', '?', '$', '{', '}', '\\'].join('');

/** Listed values are tried one by one, as long as there are no more combinations than this. */
const maxCombinations = 2_000;

function capabilityFinding(
  deps: WhoCanDeps,
  published: PublishedManifest,
  name: string,
  capability: Capability,
  taskType: string,
  question: { provider: string; action: string; resource: string },
): Finding {
  const { manifest } = published.compiled;
  const finding = (answer: Finding['answer'], because: string[], example?: Finding['example']): Finding => ({
    agent: published.agent,
    version: published.version,
    name,
    task_type: taskType,
    answer,
    ...(example === undefined ? {} : { example }),
    because: [...new Set(because)],
  });
  const provider = deps.providers.get(capability.provider);
  if (provider === undefined)
    return finding('cannot_tell', [`the provider ${capability.provider} is not switched on here`]);
  if (provider.reach === undefined)
    return finding('cannot_tell', [`${capability.provider} does not say what its plans reach`]);
  const inputs = manifest.task_types[taskType]?.inputs ?? {};
  const used = new Set(textsOf(capability.params).flatMap(({ text }) => referencesOf(text).inputs));
  const open: Open[] = [
    ...Object.entries(inputs).map(([key, shape]): Open => ({ name: `inputs.${key}`, kind: 'inputs', key, shape })),
    ...Object.entries(capability.choose).map(
      ([key, shape]): Open => ({ name: `choose.${key}`, kind: 'choose', key, shape }),
    ),
  ];
  // An input that no parameter takes changes nothing here: one example of it is enough.
  const matters = open.filter(({ kind, key }) => kind === 'choose' || used.has(key));
  const listed = matters.filter(({ shape }) => valuesListed(shape) !== null);
  const free = matters.filter(({ shape }) => valuesListed(shape) === null);
  const combinations = combine(listed.map((one) => ({ name: one.name, values: valuesListed(one.shape)! })));
  if (combinations === null)
    return finding('cannot_tell', [`its parameters have more than ${maxCombinations} combinations of listed values`]);

  const doubts: string[] = [];
  for (const chosen of combinations) {
    const found = combinationFinding(deps, published, {
      name,
      capability,
      taskType,
      open,
      free,
      chosen,
      provider,
      question,
    });
    if (found.answer === 'yes') return finding('yes', found.because, found.example);
    if (found.answer === 'cannot_tell') doubts.push(...found.because);
  }
  return doubts.length > 0 ? finding('cannot_tell', doubts) : finding('no', ['no value of its parameters comes to it']);
}

interface Combination {
  name: string;
  capability: Capability;
  taskType: string;
  open: readonly Open[];
  free: readonly Open[];
  chosen: ReadonlyMap<string, Json>;
  provider: Provider;
  question: { provider: string; action: string; resource: string };
}

function combinationFinding(
  deps: WhoCanDeps,
  published: PublishedManifest,
  one: Combination,
): Pick<Finding, 'answer' | 'because' | 'example'> {
  const { free, open, chosen, provider, taskType, question } = one;
  const valuesWith = (values: ReadonlyMap<string, Json>): { task: Task; params: JsonObject } => {
    const of = (kind: Open['kind']) =>
      Object.fromEntries(
        open
          .filter((each) => each.kind === kind)
          .map((each) => [each.key, values.get(each.name) ?? chosen.get(each.name) ?? exampleOf(each.shape)]),
      );
    return { task: { task_type: taskType, inputs: of('inputs') as Task['inputs'] }, params: of('choose') };
  };

  // 1. What the plan looks like, with a mark where each value goes.
  const marked = markedPlan(one, valuesWith);
  if (marked === null) {
    const names = free.map(({ name }) => name).join(', ');
    if (names === '') return { answer: 'no', because: [] };
    return { answer: 'cannot_tell', because: [`what a value of ${names} becomes in a permission cannot be told`] };
  }

  // 2. Where what it reaches and what is asked for have something in common.
  const doubts: string[] = [];
  for (const reach of marked.reach) {
    const met = meeting(reach, marked.marks, free, question, provider.caselessReach);
    if (met === 'none') continue;
    if (met === 'too_large') {
      doubts.push('its patterns are too large to compare');
      continue;
    }
    if (reach.uncertain !== undefined) {
      doubts.push(reach.uncertain);
      continue;
    }
    // 3. Such a session, by the real evaluation.
    const witness = valuesWith(
      new Map(free.map(({ name, shape }) => [name, typed(shape, met.get(name)) ?? exampleOf(shape)])),
    );
    const tried = tryGrant(deps, published, one, witness);
    const really = tried.plan === null ? [] : provider.reach!(tried.plan);
    const real = really.find((one) => one.uncertain === undefined && reaches(one, question, provider.caselessReach));
    if (real !== undefined) {
      const { task, params } = witness;
      const because = [...(real.onlyIf === undefined ? [] : [`only for ${real.onlyIf}`]), ...tried.notes];
      const example = { inputs: task.inputs, params, ...(tried.approval ? { needs_approval: true as const } : {}) };
      return { answer: 'yes', because, example };
    }
    doubts.push(
      tried.plan === null ? tried.notes.join('; ') : 'no value was found that its patterns take and that comes to it',
    );
  }
  return doubts.length > 0 ? { answer: 'cannot_tell', because: doubts } : { answer: 'no', because: [] };
}

/** Values that are put where nobody chose one yet: told again in what comes out. */
const marks = (index: number): Json[][] => [
  [`zqhole${index}zq`],
  [`zqhole${index}zq/`],
  [900_719_925_474_000 + index],
  [`arn:aws:s3:::zqhole${index}zq/`],
  [`arn:aws:sqs:eu-central-1:111122223333:zqhole${index}zq`],
  [`zqhole${index}zq@example-project.iam.gserviceaccount.com`],
];

function markedPlan(
  { free, capability, provider }: Combination,
  valuesWith: (values: ReadonlyMap<string, Json>) => { task: Task; params: JsonObject },
): { reach: Reach[]; marks: Map<string, string> } | null {
  for (const [kind] of marks(0).entries()) {
    const values = free.map(({ name, shape }, index): [string, Json] => {
      const [text] = marks(index)[kind]!;
      return [name, shape.type === 'integer' ? 900_719_925_474_000 + index : text!];
    });
    const { task, params } = valuesWith(new Map(values));
    const plan = planOf(provider, capability, task, params);
    if (plan === null) {
      if (free.length === 0) return null;
      continue;
    }
    return { reach: provider.reach!(plan), marks: new Map(values.map(([name, value]) => [name, String(value)])) };
  }
  return null;
}

function planOf(provider: Provider, capability: Capability, task: Task, choices: JsonObject): Plan | null {
  try {
    const params = { ...(substitute(capability.params, task.inputs) as JsonObject), ...choices };
    const parsed = provider.params.safeParse(params);
    return parsed.success ? provider.plan(parsed.data, provider.limits.maxTtlSeconds) : null;
  } catch {
    return null;
  }
}

/** What is asked for and what may be done have in common: the values in it; `none` where there is nothing. */
function meeting(
  { actions, resources }: Reach,
  marked: ReadonlyMap<string, string>,
  free: readonly Open[],
  question: { action: string; resource: string },
  ignores: Provider['caselessReach'],
): Map<string, string> | 'none' | 'too_large' {
  const caseOf = (language: Language, what: 'actions' | 'all') =>
    ignores === 'all' || ignores === what ? caseless(language) : language;
  const languages = new Map(free.map(({ name, shape }) => [name, asHole(shapeLanguage(shape), name, neverInValues)]));
  try {
    for (const action of actions) {
      const asked = caseOf(wildcards(question.action), 'actions');
      const first = common(caseOf(template(action, marked, languages), 'actions'), asked);
      if (first === null) continue;
      for (const resource of resources) {
        const second = common(
          caseOf(template(resource, marked, languages), 'all'),
          caseOf(wildcards(question.resource), 'all'),
        );
        if (second !== null) return new Map([...first.holes, ...second.holes]);
      }
    }
  } catch (error) {
    if (error instanceof RangeError) return 'too_large';
    throw error;
  }
  return 'none';
}

/** A pattern in which marks stand for all the values that may be there. */
function template(
  pattern: string,
  marked: ReadonlyMap<string, string>,
  languages: ReadonlyMap<string, Language>,
): Language {
  const found = [...marked]
    .map(([name, mark]) => ({ name, mark, at: pattern.indexOf(mark) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)[0];
  if (found === undefined) return wildcards(pattern);
  const rest = pattern.slice(found.at + found.mark.length);
  return sequence([
    wildcards(pattern.slice(0, found.at)),
    languages.get(found.name)!,
    template(rest, marked, languages),
  ]);
}

function reaches(
  real: Reach,
  question: { action: string; resource: string },
  ignores: Provider['caselessReach'],
): boolean {
  return meeting(real, new Map(), [], question, ignores) instanceof Map;
}

/** Real sessions have a history, a clock and counts; this one has just been opened. */
function tryGrant(
  { providers, digest, now }: WhoCanDeps,
  published: PublishedManifest,
  { name, capability, provider }: Combination,
  { task, params }: { task: Task; params: JsonObject },
): { plan: Plan | null; approval: boolean; notes: string[] } {
  const { manifest } = published.compiled;
  const bound = bindParams(capability, task, params);
  if (!bound.ok)
    return { plan: null, approval: false, notes: bound.faults.map(({ path, message }) => `${path} ${message}`) };
  const facts = grantFacts(manifest, name, bound.params, null);
  const scene = {
    manifest,
    session: freshSession(published.agent, task, now),
    call: facts,
    cells: new Map(),
    digest,
    asking: ['attempt', 'call'] as const,
    moment: { now: now.getTime(), rootId: 'ses_new' },
    labels: [],
  };
  const about = compiledCalls(manifest).rules.filter(
    ({ on }) => on.capabilities === null || on.capabilities.includes(name),
  );
  const hits = about
    .filter((rule) => (rule.effect === 'allow' ? ruleHolds(rule, scene) === true : ruleHolds(rule, scene) !== false))
    .map(({ id }) => id);
  // What a session may only hand on, a child of it may use.
  const handedOn = capability.delegate_only === true;
  const session = {
    agent: published.agent,
    task,
    onBehalfOf: null,
    expiresAt: new Date(now.getTime() + Math.max(provider.limits.minTtlSeconds, capability.max_ttl) * 1000),
    facts: { narrowed: handedOn, capabilities: handedOn ? [name] : [], grants: 0, capability_grants: 0, withheld: [] },
    locks: [],
  } as unknown as SessionFacts;
  try {
    const asked = { capability: name, params, ttlSeconds: undefined };
    const { decision, plan } = evaluate(providers, published, session, asked, now, hits);
    const rules = about.filter(({ effect }) => effect !== 'flag').map(({ id }) => id);
    const notes = [
      ...(handedOn ? ['in a child session that it was handed on to'] : []),
      ...(rules.length === 0 ? [] : [`unless a rule stands against it: ${rules.join(', ')}`]),
    ];
    if (decision.effect === 'allow' || decision.effect === 'approve')
      return { plan, approval: decision.effect === 'approve', notes };
    return {
      plan: null,
      approval: false,
      notes: decision.reasons.map(({ code, policy_id, advice }) => `${policy_id ?? code}: ${advice ?? code}`),
    };
  } catch (error) {
    if (!(error instanceof WritError)) throw error;
    return {
      plan: null,
      approval: false,
      notes: (error.errors ?? []).map(({ path, message }) => `${path} ${message}`),
    };
  }
}

const freshSession = (agent: string, task: Task, now: Date) => ({
  agent,
  rootId: 'ses_new',
  task,
  rootOpenedAt: now,
  onBehalfOf: null,
  declaredOnBehalfOf: null,
  facts: { withheld: [] },
});

// Values.

const maxIntegers = 64;

/** All values, where they are listed or few; else null. */
function valuesListed(shape: Input | Choice): Json[] | null {
  if (shape.type === 'boolean') return [true, false];
  if (shape.type === 'string') return shape.enum ?? null;
  const { min, max } = shape;
  if (min === undefined || max === undefined || max - min >= maxIntegers) return null;
  return Array.from({ length: max - min + 1 }, (_, n) => min + n);
}

function combine(lists: readonly { name: string; values: Json[] }[]): Map<string, Json>[] | null {
  if (lists.reduce((count, { values }) => count * values.length, 1) > maxCombinations) return null;
  return lists.reduce<Map<string, Json>[]>(
    (all, { name, values }) => all.flatMap((one) => values.map((value) => new Map([...one, [name, value]]))),
    [new Map()],
  );
}

const shapeLanguage = (shape: Input | Choice): Language =>
  shape.type === 'string' && shape.pattern !== undefined ? languageOf(shape.pattern) : languageOf('-?[0-9]+');

/** A value of the shape: one that its pattern takes, where one can be found. */
function exampleOf(shape: Input | Choice): Json {
  const [listed] = valuesListed(shape) ?? [];
  if (listed !== undefined) return listed;
  if (shape.type === 'integer') return shape.min ?? shape.max ?? 0;
  const language = asHole(shapeLanguage(shape), 'value', neverInValues);
  try {
    return common(language, languageOf('.+'))?.text ?? 'a';
  } catch {
    return 'a';
  }
}

function typed(shape: Input | Choice, text: string | undefined): Json | undefined {
  if (text === undefined || shape.type !== 'integer') return text;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}

// Tools.

function toolFinding(
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
