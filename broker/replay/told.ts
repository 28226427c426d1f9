/** What can be told of something: true, false, or null where nobody can say any more. */
export type Told = boolean | null;

export const every = (all: readonly Told[]): Told => (all.includes(false) ? false : all.includes(null) ? null : true);
export const some = (all: readonly Told[]): Told => (all.includes(true) ? true : all.includes(null) ? null : false);
