import { everyStepOf, type Killing, killTests } from './kill.test-support.ts';

/** After what changes something at AWS: a session, the denial of it, the denial's end. */
const atAws: Killing[] = [
  { provider: 'aws', flow: 'issue', n: 0 },
  { provider: 'aws', flow: 'issue', n: 4 },
  { provider: 'aws', flow: 'revoke', n: 0 },
  { provider: 'aws', flow: 'revoke', n: 7 },
  { provider: 'aws', flow: 'revoke', n: 19 },
];

killTests('postgres', process.env.TEST_DEPTH === 'all' ? everyStepOf('aws') : atAws);
