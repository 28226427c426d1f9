/** `docs/reference/rule-packs.md`: what each rule pack has, of `broker/manifests/packs.ts`. */
import { z } from 'zod';
import { expandPack } from '../../broker/manifests/include-packs.ts';
import { packNames, packs } from '../../broker/manifests/packs.ts';
import { code, generatedFrom, page, table } from './markdown.ts';

interface Bound {
  description?: string;
  default?: unknown;
}

export function rulePacksPage(): string {
  return page(
    generatedFrom('broker/manifests/packs.ts'),
    '# Rule packs',
    'Rules for what many agents have in common. A manifest includes them by name, and binds its own classes and bounds:',
    '```yaml\npacks:\n  - secrets\n  - { name: spend, with: { spends: purchases, per_day_usd: 20 }, without: [unusual], effects: { hour: suspend } }\n```',
    'What a pack became is a part of the published version, as rules with ids `pack/rule`: a newer broker changes none that is in force. A class that a pack speaks of must be there; it may be empty. A manifest and cases of each, to copy from: `broker/manifests/packs/`.',
    ...packNames.flatMap((name) => {
      const shape = z.toJSONSchema(packs[name].with as z.ZodType, { io: 'input' }) as {
        properties: { [field: string]: Bound };
      };
      const { rules, duties } = expandPack(name);
      const messages = rules.map(({ id, effect, message }) => [code(id), effect, message ?? 'On record only.']);
      const kept = duties.map(({ id }) => [code(id), 'deny', 'Whoever did one of the duties does none of the others.']);
      return [
        `## ${name}`,
        packs[name].about,
        table(
          ['`with`', 'Default', 'Meaning'],
          Object.entries(shape.properties).map(([field, { default: usual, description = '' }]) => [
            code(field),
            code(JSON.stringify(usual)),
            description,
          ]),
        ),
        table(['Rule', 'Effect', 'What is told'], [...messages, ...kept]),
      ];
    }),
  );
}
