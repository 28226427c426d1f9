/** What a credential looks like: of each provider in use what it says itself, told apart by `type`. */
import { z } from 'zod';
import type { Provider } from '../../providers/contract.ts';
import { named } from './named-schemas.ts';

export function credentialSchema(providers: Iterable<Pick<Provider, 'name' | 'credential'>>): z.ZodType {
  const shapes = [...providers].map(({ name, credential }) =>
    named(`${inCapitals(name)}Credential`, credential ?? z.looseObject({ type: z.literal(name) })),
  );
  const [first, ...others] = shapes;
  return first === undefined ? z.looseObject({ type: z.string() }) : z.discriminatedUnion('type', [first, ...others]);
}

const inCapitals = (name: string) =>
  name.replace(/(?:^|[^a-zA-Z0-9]+)([a-zA-Z0-9]?)/g, (_all, first: string) => first.toUpperCase());
