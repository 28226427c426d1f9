/** The parameter `fields`: a partial answer, as Google's APIs give it, of two levels at most. */
import { GoogleError } from './errors.ts';

type Record = { [name: string]: unknown };

/** @throws GoogleError INVALID_ARGUMENT for a selection that is none */
export function partial(body: Record, fields: string): Record {
  const selections = [...fields.matchAll(/([A-Za-z]+)(?:\(([A-Za-z,]+)\))?(?:,|$)/g)];
  if (selections.map(([text]) => text).join('') !== fields)
    throw new GoogleError('INVALID_ARGUMENT', `Invalid field selection ${fields}`);
  return pick(
    body,
    selections.map(([, name = '', inner]) => ({ name, inner: inner?.split(',') })),
  );
}

function pick(body: Record, selections: { name: string; inner: string[] | undefined }[]): Record {
  const chosen = selections.filter(({ name }) => body[name] !== undefined);
  return Object.fromEntries(
    chosen.map(({ name, inner }) => {
      const value = body[name];
      const within = (one: Record) =>
        pick(
          one,
          (inner ?? []).map((each) => ({ name: each, inner: undefined })),
        );
      if (inner === undefined) return [name, value];
      return [name, Array.isArray(value) ? value.map(within) : within(value as Record)];
    }),
  );
}
