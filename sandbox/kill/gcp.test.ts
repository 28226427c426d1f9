import { everyStepOf, type Killing, killTests } from './kill.test-support.ts';

/** After what changes something at Google: the account's token, the one cut down, the account's standing. */
const atGoogle: Killing[] = [
  { provider: 'gcp', flow: 'issue', n: 0 },
  { provider: 'gcp', flow: 'issue', n: 3 },
  { provider: 'gcp', flow: 'issue', n: 4 },
  { provider: 'gcp', flow: 'revoke', n: 0 },
  { provider: 'gcp', flow: 'revoke', n: 6 },
  { provider: 'gcp', flow: 'revoke', n: 11 },
];

killTests('postgres', process.env.TEST_DEPTH === 'all' ? everyStepOf('gcp') : atGoogle);
