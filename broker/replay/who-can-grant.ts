/** Whether a session could ever be granted a capability that reaches what is asked for. Pure. */
import type { Provider, Reach } from '../../providers/contract.ts';
import { grantFacts } from '../actions/evaluate-call.ts';
import { ruleHolds } from '../actions/rules.ts';
import { definitionOf } from '../break-glass/digest.ts';
import { WritError } from '../core/errors.ts';
import type { Json, JsonObject, Plan, Task } from '../core/vocabulary.ts';
import { evaluate, evaluateUnderBreakGlass } from '../grants/evaluate.ts';
import { bindParams } from '../manifests/bind.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Capability } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { referencesOf, substitute, textsOf } from '../manifests/template.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import { type Finding, freshSession, type WhoCanDeps } from './finding.ts';
import { combine, exampleOf, maxCombinations, type Open, typed, valuesListed } from './possible-values.ts';
import { meeting, reaches } from './reach-meets.ts';

export function grantFinding(
  deps: WhoCanDeps,
  published: PublishedManifest,
  name: string,
  capability: Capability,
  taskType: string,
  question: { provider: string; action: string; resource: string },
): Finding {
  const { manifest } = published.compiled;
  const finding = (
    answer: Finding['answer'],
    because: string[],
    example?: Finding['example'],
    broken = false,
  ): Finding => ({
    agent: published.agent,
    version: published.version,
    name,
    task_type: taskType,
    answer,
    ...(example === undefined ? {} : { example }),
    ...(broken || (example?.needs_approval === true && capability.break_glass === true)
      ? { break_glass: { needed: broken, open: openFor(deps, published.agent, name, capability) } }
      : {}),
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
    if (found.answer === 'yes') return finding('yes', found.because, found.example, found.broken);
    if (found.answer === 'cannot_tell') doubts.push(...found.because);
  }
  return doubts.length > 0 ? finding('cannot_tell', doubts) : finding('no', ['no value of its parameters comes to it']);
}

/** Those that are open now for this capability, as the manifest in force has it. */
function openFor({ open }: WhoCanDeps, agent: string, name: string, capability: Capability) {
  const definition = definitionOf(capability);
  return open
    .filter((one) => one.agent === agent)
    .filter(({ capabilities }) => capabilities.some((c) => c.name === name && c.definition === definition))
    .map(({ id, session, expiresAt }) => ({ id, session, expires_at: expiresAt.toISOString() }));
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
): Pick<Finding, 'answer' | 'because' | 'example'> & { broken?: boolean } {
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
      return { answer: 'yes', because, example, broken: tried.broken };
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
/** Real sessions have a history, a clock and counts; this one has just been opened. */
function tryGrant(
  { providers, digest, now }: WhoCanDeps,
  published: PublishedManifest,
  { name, capability, provider }: Combination,
  { task, params }: { task: Task; params: JsonObject },
): { plan: Plan | null; approval: boolean; broken: boolean; notes: string[] } {
  const { manifest } = published.compiled;
  const bound = bindParams(capability, task, params);
  if (!bound.ok)
    return {
      plan: null,
      approval: false,
      broken: false,
      notes: bound.faults.map(({ path, message }) => `${path} ${message}`),
    };
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
      return { plan, approval: decision.effect === 'approve', broken: false, notes };
    if (capability.break_glass === true) {
      const glass = { id: 'bgl_new', secondsLeft: provider.limits.maxTtlSeconds };
      const given = evaluateUnderBreakGlass(providers, published, session, asked, now, hits, glass);
      if (given !== null)
        return { plan: given.plan, approval: false, broken: true, notes: notes.slice(0, handedOn ? 1 : 0) };
    }
    return {
      plan: null,
      approval: false,
      broken: false,
      notes: decision.reasons.map(({ code, policy_id, advice }) => `${policy_id ?? code}: ${advice ?? code}`),
    };
  } catch (error) {
    if (!(error instanceof WritError)) throw error;
    return {
      plan: null,
      approval: false,
      broken: false,
      notes: (error.errors ?? []).map(({ path, message }) => `${path} ${message}`),
    };
  }
}
