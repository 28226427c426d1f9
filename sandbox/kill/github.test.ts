import { everyStepOf, type Killing, killTests } from './kill.test-support.ts';

/** After each step that leaves something new behind: a row, a credential, a row that says it is dead. */
const whereRowsChange: Killing[] = [
  { provider: 'github', flow: 'issue', n: 0 },
  { provider: 'github', flow: 'issue', n: 1 },
  { provider: 'github', flow: 'issue', n: 2 },
  { provider: 'github', flow: 'issue', n: 3 },
  { provider: 'github', flow: 'redeem', n: 2 },
  { provider: 'github', flow: 'revoke', n: 0 },
  { provider: 'github', flow: 'revoke', n: 5 },
  { provider: 'github', flow: 'revoke', n: 6 },
  { provider: 'github', flow: 'expire', n: 3 },
];

killTests('postgres', process.env.TEST_DEPTH === 'all' ? everyStepOf('github') : whereRowsChange);
