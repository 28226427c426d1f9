/**
 * What a manifest's schema cannot say: that its parts refer to each other rightly, and that its fixed
 * parameters are ones the provider takes. The providers come in as data, so that manifests stay free of them.
 */
import { isDeepStrictEqual } from 'node:util';
import type { z } from 'zod';
import type { FieldFault } from '../core/errors.ts';
import { didYouMean, fieldWords } from '../core/field-words.ts';
import type { Json } from '../core/vocabulary.ts';
import { checkApproval, checkCalls } from './check-calls.ts';
import { checkPlans } from './check-plans.ts';
import { type Capability, type Choice, type Input, type Manifest, member } from './manifest.ts';
import { faultAt, inReadingOrder, type Locate, type Path } from './parse.ts';
import { matchesWhole, patternFault } from './pattern.ts';
import type { ProviderShapes } from './provider-shapes.ts';
import { isConstant, lastReference, referencesOf, textsOf, wholeReference } from './template.ts';
import { isPlainText, unsafeText } from './unsafe-text.ts';

export type { ProviderShapes } from './provider-shapes.ts';

type Report = (path: Path, message: string) => void;

/** Every fault beyond shape, each with line and column; empty when the manifest may be compiled. */
export function checkManifest(manifest: Manifest, providers: ProviderShapes, locate: Locate): FieldFault[] {
  const faults: FieldFault[] = [];
  const report: Report = (path, message) => {
    faults.push(faultAt(path, message, locate));
  };
  // What is wrong of itself is told once: a provider takes it no more than we do.
  const reportBeside: Report = (path, message) => {
    const fault = faultAt(path, message, locate);
    if (!faults.some((other) => other.path === fault.path)) faults.push(fault);
  };
  for (const [name, task] of Object.entries(manifest.task_types)) {
    checkEnvelope(manifest, task.envelope ?? {}, ['task_types', name, 'envelope'], report);
    for (const [input, shape] of Object.entries(task.inputs)) {
      const path = ['task_types', name, 'inputs', input];
      checkConstraint(shape, path, report);
      if (shape.type !== 'string') continue;
      for (const [index, value] of (shape.enum ?? []).entries()) {
        const fault = unsafeText(value);
        if (fault !== undefined) report([...path, 'enum', index], fault);
      }
    }
  }
  checkApproval(manifest.approval, ['approval'], report);
  for (const [name, capability] of Object.entries(manifest.capabilities)) {
    const path = ['capabilities', name];
    if (capability.approval !== undefined)
      checkApproval({ ...manifest.approval, ...capability.approval }, [...path, 'approval'], report);
    if (capability.break_glass === true && capability.canary)
      report([...path, 'break_glass'], 'is for nothing here: a decoy is never given');
    const inputs = checkTasks(manifest, capability, path, report);
    checkParams(capability, inputs, path, report);
    for (const [param, choice] of Object.entries(capability.choose)) {
      checkChoice(choice, [...path, 'choose', param], report);
    }
    const provider = member(providers, capability.provider);
    if (provider === undefined) {
      const known = Object.keys(providers).sort().join(', ') || 'none';
      const near = didYouMean(capability.provider, Object.keys(providers));
      report([...path, 'provider'], `is not a provider that is switched on (there are: ${known})${near}`);
    } else {
      checkAgainstProvider(capability, inputs, provider.params, path, reportBeside);
      checkEnds(manifest, capability, provider.params, path, reportBeside);
      checkPlans(manifest, capability, provider, path, reportBeside);
      // Otherwise whatever a person is asked about would be refused.
      if (capability.approval?.state === true && provider.readsState === false)
        report([...path, 'approval', 'state'], `the provider ${capability.provider} reads no state`);
    }
  }
  checkCalls(manifest, report);
  return inReadingOrder(faults);
}

function checkEnvelope(
  manifest: Manifest,
  envelope: { wall_time?: number | undefined; max_grants?: number | undefined },
  path: Path,
  report: Report,
): void {
  const { wall_time, max_grants } = manifest.envelope;
  if ((envelope.wall_time ?? 0) > wall_time) report([...path, 'wall_time'], "must not be longer than the agent's");
  if (max_grants !== undefined && (envelope.max_grants ?? 0) > max_grants) {
    report([...path, 'max_grants'], "must not be more than the agent's");
  }
}

function checkConstraint(shape: Input | Choice, path: Path, report: Report): void {
  if (shape.type === 'string') {
    if ((shape.pattern === undefined) === (shape.enum === undefined)) {
      report(path, 'a string needs exactly one of pattern and enum');
    }
    const fault = shape.pattern === undefined ? undefined : patternFault(shape.pattern);
    if (fault !== undefined) report([...path, 'pattern'], fault);
    const values = shape.enum ?? [];
    for (const [index, value] of values.entries()) {
      if (values.indexOf(value) !== index) report([...path, 'enum', index], 'is there twice');
    }
  }
  if (shape.type === 'integer' && shape.min !== undefined && shape.max !== undefined && shape.min > shape.max) {
    report([...path, 'min'], 'must not be greater than max');
  }
}

/** Checks the capability's tasks. @returns the inputs that all of them have; null where one is unknown */
function checkTasks(
  manifest: Manifest,
  capability: Capability,
  path: Path,
  report: Report,
): Map<string, Input['type']> | null {
  const shapes = new Map<string, Input['type']>();
  const seen = new Map<string, number>();
  let unknown = false;
  for (const [index, name] of capability.tasks.entries()) {
    if (capability.tasks.indexOf(name) !== index) report([...path, 'tasks', index], 'is there twice');
    const task = member(manifest.task_types, name);
    if (task === undefined) {
      report(
        [...path, 'tasks', index],
        `is not a task type of this manifest${didYouMean(name, Object.keys(manifest.task_types))}`,
      );
      unknown = true;
      continue;
    }
    for (const [input, { type }] of Object.entries(task.inputs)) {
      const before = shapes.get(input);
      if (before !== undefined && before !== type) {
        report(
          [...path, 'tasks', index],
          `its input ${input} is ${type}, but ${before} in another task type listed here`,
        );
      }
      shapes.set(input, type);
      seen.set(input, (seen.get(input) ?? 0) + 1);
    }
  }
  // What such a task type has for inputs nobody knows; that it is none was told.
  if (unknown) return null;
  return new Map([...shapes].filter(([input]) => seen.get(input) === capability.tasks.length));
}

function checkParams(capability: Capability, inputs: Map<string, unknown> | null, path: Path, report: Report): void {
  for (const [param, value] of Object.entries(capability.params)) {
    const at = [...path, 'params', param];
    if (Object.hasOwn(capability.choose, param)) {
      report([...path, 'choose', param], 'is fixed in params too: an agent may choose it or not');
    }
    checkJson(value, at, report);
    for (const { text, path: below } of textsOf(value)) {
      const references = referencesOf(text);
      // Without this, `${input.id}` would reach the provider as it stands, and IAM reads such texts as
      // variables of its own.
      if (references.stray) report([...at, ...below], `has a \${ that is not \${inputs.<name>}`);
      if (references.bare !== undefined)
        report(
          [...at, ...below],
          `has ${references.bare} without braces, which is no input but these very letters: write \${${references.bare.slice(1)}}`,
        );
      for (const input of new Set(references.inputs)) {
        if (inputs !== null && !inputs.has(input)) {
          const near = didYouMean(input, inputs.keys());
          report(
            [...at, ...below],
            `refers to the input ${input}, which not every task type of this capability has${near}`,
          );
        }
      }
    }
  }
}

/** Numbers must survive digests and Cedar exactly; texts and keys must be readable. */
function checkJson(value: Json, path: Path, report: Report): void {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    report(path, 'must be a whole number of at most 53 bits; write other numbers as text');
  } else if (typeof value === 'string') {
    if (!isPlainText(value))
      report(path, 'must be Unicode text in normal form C without control or invisible characters');
  } else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) checkJson(item, [...path, index], report);
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      if (!isPlainText(key) || key.includes('${'))
        report([...path, key], 'is not a legal key: no inputs, no control characters');
      checkJson(item, [...path, key], report);
    }
  }
}

function checkChoice(choice: Choice, path: Path, report: Report): void {
  checkConstraint(choice, path, report);
  if (choice.type === 'string') {
    for (const [index, value] of (choice.enum ?? []).entries()) {
      if (!isPlainText(value) || value.includes('${'))
        report([...path, 'enum', index], 'must be plain text without ${');
    }
    const { default: value, pattern } = choice;
    if (value !== undefined) {
      const legal =
        choice.enum !== undefined
          ? choice.enum.includes(value)
          : pattern === undefined || patternFault(pattern) !== undefined || matchesWhole(pattern, value);
      if (!legal) report([...path, 'default'], 'must be one of the values the agent may choose');
      else if (choice.enum === undefined && unsafeText(value) !== undefined) {
        report([...path, 'default'], unsafeText(value) as string);
      }
    }
  }
  if (choice.type === 'integer' && choice.default !== undefined) {
    if (choice.default < choice.min || choice.default > choice.max) {
      report([...path, 'default'], 'must be between min and max');
    }
  }
}

/**
 * Parses a sample of the parameters with the provider's own schema. Only faults that no input and no choice
 * could mend are reported, each judged where it is: one input somewhere in a list hides nothing beside it.
 * The rest is checked when the plan is made.
 */
function checkAgainstProvider(
  capability: Capability,
  inputs: Map<string, Input['type']> | null,
  schema: z.ZodType,
  path: Path,
  report: Report,
): void {
  const sample = asTyped(capability.params, inputs) as Record<string, Json>;
  for (const [param, choice] of Object.entries(capability.choose)) sample[param] = sampleOf(choice);
  const certain = (issue: z.core.$ZodIssue) => isCertain(issue, capability, inputs);
  const near = new Map<string, string | null>();
  const issues = certainIssues(schema, sample, certain, near);
  const meant = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => JSON.stringify([...issue.path, near.get(key) ?? null]))
      : [],
  );
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        const group = issue.path.length === 0 && Object.hasOwn(capability.choose, key) ? 'choose' : 'params';
        report(
          [...path, group, ...issue.path.map(pathPart), key],
          `is not a parameter of the provider ${capability.provider}${meantInstead(near.get(key))}`,
        );
      }
      continue;
    }
    // A parameter under a name that is nearly right is one fault, and no missing one besides.
    if (issue.message === 'is required' && meant.includes(JSON.stringify(issue.path))) continue;
    const at = [...path, 'params', ...issue.path.map(pathPart)];
    const provider = `the provider ${capability.provider}`;
    report(
      at,
      issue.message === 'is required'
        ? `is required by ${provider}`
        : `${provider} does not take this: ${issue.message}`,
    );
  }
  for (const [param, choice] of Object.entries(capability.choose)) {
    if (choice.type !== 'string') continue;
    for (const [index, value] of (choice.enum ?? []).entries()) {
      const decided = (issue: z.core.$ZodIssue) => issue.path[0] === param || certain(issue);
      const issues = certainIssues(schema, { ...sample, [param]: value }, decided);
      const fault = issues.find((issue) => issue.path[0] === param);
      if (fault !== undefined) {
        report(
          [...path, 'choose', param, 'enum', index],
          `the provider ${capability.provider} does not take this: ${fault.message}`,
        );
      }
    }
  }
}

/**
 * Where a provider asks how a text ends (a prefix, in a delimiter), one that ends in an input must end so
 * whatever its value: it would reach what the value merely begins. Constants beside inputs are seen here too.
 */
function checkEnds(manifest: Manifest, capability: Capability, schema: z.ZodType, path: Path, report: Report): void {
  const bound = Object.fromEntries(Object.entries(capability.params).filter(([, value]) => !isConstant(value)));
  const texts = textsOf(bound).map(({ text, path: below }) => ({ below, ...endingsOf(manifest, capability, text) }));
  const told = new Set<string>();
  // Each round takes one possible ending of every text.
  for (let round = 0; texts.some(({ endings }) => round < endings.length); round += 1) {
    const sample: Record<string, Json> = structuredClone({ ...capability.params });
    for (const [param, choice] of Object.entries(capability.choose)) sample[param] = sampleOf(choice);
    for (const { below, endings } of texts) put(sample, below, endings[Math.min(round, endings.length - 1)] as string);
    for (const issue of certainIssues(schema, sample, () => true)) {
      const found = texts.find(({ below }) => isDeepStrictEqual(below, issue.path));
      if (!isAboutEnd(issue) || found === undefined || told.has(found.below.join('\0'))) continue;
      told.add(found.below.join('\0'));
      const why = found.input === undefined ? '' : `ends in the input ${found.input}; `;
      const provider = `the provider ${capability.provider} does not take this: ${issue.message}`;
      report([...path, 'params', ...found.below], `${why}${provider}`);
    }
  }
}

/**
 * The ways a text can end, and the input that decides. An input without a list of values is taken to be "4".
 */
function endingsOf(
  manifest: Manifest,
  capability: Capability,
  text: string,
): { input?: string; endings: readonly string[] } {
  const input = lastReference(text);
  if (input === undefined) return { endings: [text] };
  const before = text.slice(0, text.lastIndexOf('${'));
  const values = capability.tasks.flatMap((task) => {
    const shape = member(member(manifest.task_types, task)?.inputs ?? {}, input);
    if (shape?.type !== 'string') return ['4'];
    if (shape.enum !== undefined) return shape.enum;
    const { pattern = '' } = shape;
    // A pattern that ends in a delimiter, with no alternative, asks for it.
    return [/^[^|]*[/:]$/.test(pattern) ? `4${pattern.slice(-1)}` : '4'];
  });
  return { input, endings: values.map((value) => `${before}${value}`) };
}

const isAboutEnd = (issue: z.core.$ZodIssue) => issue.code === 'custom' && issue.params?.about === 'end';

function put(value: Json, path: readonly (string | number)[], text: string): void {
  const parent = path.slice(0, -1).reduce<Json>((at, key) => (at as { [key: string]: Json })[key] as Json, value);
  (parent as { [key: string]: Json })[path.at(-1) as string] = text;
}

function sampleOf(choice: Choice): Json {
  if (choice.default !== undefined) return choice.default;
  if (choice.type === 'string') return choice.enum?.[0] ?? 'sample';
  return choice.type === 'integer' ? choice.min : true;
}

type Certain = (issue: z.core.$ZodIssue) => boolean;

function certainIssues(
  schema: z.ZodType,
  sample: unknown,
  certain: Certain,
  near?: Map<string, string | null>,
): z.core.$ZodIssue[] {
  const parsed = schema.safeParse(sample, { error: (issue) => fieldWords(issue, near) });
  return parsed.success ? [] : certainAmong(parsed.error.issues, [], certain);
}

/**
 * A sample fits a union if some branch has no definite fault; else the branch that is nearest to it is
 * reported: one that takes such a value at all, with the fewest faults.
 */
function certainAmong(issues: readonly z.core.$ZodIssue[], above: PropertyKey[], certain: Certain): z.core.$ZodIssue[] {
  return issues.flatMap((issue) => {
    const path = [...above, ...issue.path];
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      const branches = issue.errors.map((branch) => certainAmong(branch, path, certain));
      if (branches.some((branch) => branch.length === 0)) return [];
      const takesNone = (branch: z.core.$ZodIssue[]) =>
        branch.some((one) => isAboutKind(one) && one.path.length === path.length) ? 1 : 0;
      return branches.sort((one, other) => takesNone(one) - takesNone(other) || one.length - other.length)[0] ?? [];
    }
    const placed = { ...issue, path };
    return certain(placed) ? [placed] : [];
  });
}

const isAboutKind = ({ code }: z.core.$ZodIssue) => code === 'invalid_type' || code === 'invalid_value';

/** Whether no input and no choice could mend it. Names and the number of members are the author's alone. */
function isCertain(
  issue: z.core.$ZodIssue,
  { params, choose }: Capability,
  inputs: Map<string, unknown> | null,
): boolean {
  const { path, code } = issue;
  if (code === 'unrecognized_keys') return true;
  if (path.length === 0) return Object.keys(choose).length === 0 && isConstant(params);
  if (Object.hasOwn(choose, String(path[0]))) return false;
  const value = valueAt(params, path);
  if (value === undefined || isConstant(value)) return true;
  if (code === 'invalid_key' || (code === 'custom' && issue.params?.about === 'shape')) return true;
  // A list with an input somewhere in it stays a list, of as many entries.
  if (typeof value === 'object') return isAboutKind(issue) || code === 'too_small' || code === 'too_big';
  // The sample has the type that the input has, which only an unknown one hides.
  return code === 'invalid_type' && (inputs !== null || wholeReference(String(value)) === undefined);
}

function valueAt(value: Json, path: readonly PropertyKey[]): Json | undefined {
  return path.reduce<Json | undefined>(
    (at, key) =>
      typeof at === 'object' && at !== null ? member(at as { [key: string]: Json }, String(key)) : undefined,
    value,
  );
}

/** The value with a number or a boolean wherever an input will put one. */
function asTyped(value: Json, inputs: Map<string, Input['type']> | null): Json {
  if (typeof value === 'string') {
    const type = inputs?.get(wholeReference(value) ?? '');
    return type === 'integer' ? 1 : type === 'boolean' ? true : value;
  }
  if (Array.isArray(value)) return value.map((item) => asTyped(item, inputs));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asTyped(item, inputs)]));
}

const meantInstead = (name: string | null | undefined): string => (name ? `; did you mean ${name}?` : '');

function pathPart(part: PropertyKey): string | number {
  return typeof part === 'number' ? part : String(part);
}
