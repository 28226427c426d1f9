/**
 * What `npm test` leaves to `npm run test:deep`: files whose head says `@deep`, what more others do that read
 * `TEST_DEPTH`, and on the embedded database the suites that run on either.
 */

/** @param text of a test file */
export const saysDeep = (text: string): boolean => /^ \* @deep$/m.test(text.slice(0, 2000));

export const goesDeeper = (text: string): boolean => saysDeep(text) || text.includes('process.env.TEST_DEPTH');

/** Whether its suites run on one database or the other. */
export const runsOnEither = (text: string): boolean => / of \(?await testBackends\(\)/.test(text);
