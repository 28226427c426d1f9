/**
 * Packs that a manifest includes by name. One is expanded when the manifest is read, and what it became
 * stands in the published version: a later broker changes none.
 */
import { z } from 'zod';
import { type Pack, type PackName, packNames, packs } from './packs.ts';
import { DutySchema, RuleSchema } from './tool-schema.ts';

const included = <Name extends PackName>(name: Name) =>
  z.strictObject({
    name: z.literal(name).describe(packs[name].about),
    with: (packs[name].with as z.ZodObject).prefault({}).describe('What it speaks of in this manifest.'),
    without: z.array(z.string().max(64)).max(16).default([]).describe('Rules of it that are left out.'),
    effects: z
      .record(z.string().max(64), RuleSchema.shape.effect.exclude(['allow', 'downgrade']))
      .default({})
      .describe('Other effects of its rules.'),
  });

/** The member `packs` of a manifest. */
export const packsSchema = z
  .array(z.union([z.enum(packNames), z.discriminatedUnion('name', packNames.map(included) as never)]))
  .max(16)
  .describe('Rule packs, by name; what is in them: rule-packs.md.');

interface Included {
  name: PackName;
  with: { [name: string]: unknown };
  without: string[];
  effects: { [rule: string]: string };
}

/** A manifest whose packs are among its rules: what is compiled, and what a published version keeps. */
export function withPacks<M extends WithRules>(manifest: M): M {
  if (manifest.packs === undefined) return manifest;
  const expanded = manifest.packs.map(expandPack);
  return {
    ...manifest,
    rules: [...(manifest.rules ?? []), ...expanded.flatMap(({ rules }) => rules)],
    separation_of_duties: [...(manifest.separation_of_duties ?? []), ...expanded.flatMap(({ duties }) => duties)],
  };
}

interface WithRules {
  packs?: readonly unknown[] | undefined;
  rules?: z.output<typeof RuleSchema>[] | undefined;
  separation_of_duties?: z.output<typeof DutySchema>[] | undefined;
}

/** One inclusion as rules and duties with ids `pack/rule`, and what of it names no rule of the pack. */
export function expandPack(member: unknown): {
  name: PackName;
  rules: z.output<typeof RuleSchema>[];
  duties: z.output<typeof DutySchema>[];
  strangers: string[];
} {
  const {
    name,
    with: bound,
    without,
    effects,
  } = (typeof member === 'string' ? included(member as PackName).parse({ name: member }) : member) as Included;
  const { rules, duties } = packs[name] as unknown as Pack;
  const all = rules(bound);
  const ids = all.map(({ id }) => id);
  return {
    name,
    rules: all
      .filter(({ id }) => !without.includes(id))
      .map((rule) => ({
        ...RuleSchema.parse({ ...rule, effect: effects[rule.id] ?? rule.effect }),
        id: `${name}/${rule.id}`,
      })),
    duties: (duties?.(bound) ?? []).map((duty) => ({ ...DutySchema.parse(duty), id: `${name}/${duty.id}` })),
    strangers: [...without, ...Object.keys(effects)].filter((id) => !ids.includes(id)),
  };
}
