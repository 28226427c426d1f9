/**
 * What a person's prompt gives a session: values for the inputs that the manifest's task type declares. Looks
 * at the prompt alone, knows no suite, and is the same for every folder of traces.
 */
import type { Task } from '../../../broker/core/vocabulary.ts';
import type { Input, Manifest } from '../../../broker/manifests/manifest.ts';
import { matchesWhole } from '../../../broker/manifests/pattern.ts';
import { unsafeText } from '../../../broker/manifests/unsafe-text.ts';

/** What a value of a text may look like; the first in a text is the first that is tried. */
const shapes = [
  // Quoted names, addresses, links, account numbers, dates, numbers, names of hosts and files.
  /["“‘'«`]([^"“”‘’'«»`\n]{1,256})["”’'»`]/gu,
  /([\w.+-]+@[\w-]+(?:\.[\w-]+)+)/gu,
  /(https?:\/\/[^\s"'<>)]*[^\s"'<>).,;:!?])/gu,
  /\b([A-Z]{2}\d{2}[A-Z0-9]{8,30})\b/gu,
  /\b(\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2})?)\b/gu,
  /(?<![\w.-])(-?\d+(?:\.\d+)?)(?![\w-])/gu,
  /\b([\w-]+(?:\.[\w-]+)+)\b/gu,
  /\b(\p{Lu}[\p{L}-]+(?: \p{Lu}[\p{L}-]+)*)\b/gu,
];

/** Every value that a text names, in the order in which they stand there; longer ones first. */
export function valuesIn(text: string): string[] {
  const found = shapes.flatMap((shape) =>
    [...text.matchAll(shape)].map((match) => ({ at: match.index, value: match[1]!.trim() })),
  );
  found.sort((a, b) => a.at - b.at || b.value.length - a.value.length);
  return [...new Set(found.map(({ value }) => value))].filter((value) => unsafeText(value) === undefined);
}

/**
 * The task that a run declares: the manifest's first task type, each input with the first value of the prompt
 * that fits it and fits no input before it. An input that the prompt has nothing for is `none`, or what else
 * the manifest lets stand for nothing.
 */
export function taskOf(manifest: Manifest, prompt: string): Task {
  const [task_type, type] = Object.entries(manifest.task_types)[0]!;
  const values = valuesIn(prompt);
  const taken = new Set<string>();
  const inputs: Task['inputs'] = {};
  for (const [name, shape] of Object.entries(type.inputs)) {
    const value = values.find((one) => !taken.has(one) && fits(shape, one));
    if (value !== undefined) taken.add(value);
    inputs[name] = value === undefined ? nothing(shape, prompt) : shape.type === 'integer' ? Number(value) : value;
  }
  return { task_type, inputs };
}

function fits(shape: Input, value: string): boolean {
  switch (shape.type) {
    case 'boolean':
      return false;
    case 'integer': {
      const number = /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
      return number >= (shape.min ?? -Infinity) && number <= (shape.max ?? Infinity);
    }
    case 'string':
      return shape.enum?.includes(value) ?? matchesWhole(shape.pattern ?? '', value);
  }
}

/** What stands for nothing; of a list of values, the one that the prompt names, if it does. */
function nothing(shape: Input, prompt: string): string | number | boolean {
  if (shape.type === 'boolean') return false;
  if (shape.type === 'integer') return Math.min(Math.max(0, shape.min ?? 0), shape.max ?? Infinity);
  const named = shape.enum?.find((value) => prompt.toLowerCase().includes(value.toLowerCase()));
  return named ?? (shape.enum === undefined || shape.enum.includes('none') ? 'none' : shape.enum[0]!);
}
