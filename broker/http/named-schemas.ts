/**
 * Schemas with a name of their own: in `/openapi.json` each is written once, under `components`, and referred
 * to; clients that are generated from it have a type for each.
 */
import { z } from 'zod';

const names = z.registry<{ name: string }>();

/** @param name in capitals and small letters, one for each schema */
export function named<Schema extends z.ZodType>(name: string, schema: Schema): Schema {
  names.add(schema, { name });
  return schema;
}

/** Undefined for a schema without a name. */
export const nameOf = (schema: z.core.$ZodType): string | undefined => names.get(schema)?.name;
