/**
 * @deep
 */
import { type Killing, killTests } from './kill.test-support.ts';

/**
 * What differs with the database is what is on disk when the process dies: on the embedded one a killing per
 * kind of row is enough.
 */
const onDisk: Killing[] = [
  { provider: 'github', flow: 'issue', n: 1 },
  { provider: 'github', flow: 'issue', n: 2 },
  { provider: 'github', flow: 'issue', n: 3 },
  { provider: 'github', flow: 'revoke', n: 1 },
  { provider: 'github', flow: 'revoke', n: 4 },
  { provider: 'gcp', flow: 'redeem', n: 3 },
  { provider: 'aws', flow: 'issue', n: 4 },
  { provider: 'aws', flow: 'revoke', n: 4 },
  { provider: 'aws', flow: 'revoke', n: 7 },
];

killTests('pglite', onDisk);
