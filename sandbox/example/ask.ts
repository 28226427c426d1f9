/**
 * The example agent's one high-impact request, alone: asks, waits for a person, and ends its task. For the
 * playground of `npm run quickstart -- --keep`, which prints the variables.
 */
import { githubActionsToken, Writ, WritError } from '../../client/index.ts';

const { WRIT_URL: url } = process.env;
if (url === undefined || process.env.ACTIONS_ID_TOKEN_REQUEST_URL === undefined) {
  console.error('✘ copy the whole line that `npm run quickstart -- --keep` prints: its variables say who asks');
  process.exit(2);
}
try {
  const session = await Writ.openSession({
    url,
    subjectToken: githubActionsToken(),
    taskType: 'answer-invoice-question',
    inputs: { customer_id: '42' },
    onBehalfOf: 'user:owner@example.com',
  });
  console.log(`· session ${session.id}`);
  try {
    const grant = await session.grant(
      'correct-customer-invoice',
      {},
      {
        type: 'aws',
        justification: 'Invoice 7 has the wrong amount.',
        onPending: ({ approvalUrl }) => console.log(`· waiting for an approver: ${approvalUrl}`),
      },
    );
    console.log(`✔ approved: ${grant.summary.join('; ')} · ${grant.ttlSeconds} s`);
  } finally {
    const { leases } = await session.end({ waitSeconds: 30 });
    for (const { provider, status } of leases) console.log(`✔ the task has ended: ${provider} credential ${status}`);
  }
} catch (error) {
  console.error(`✘ ${error instanceof WritError ? error.message : (error as Error).message}`);
  process.exitCode = 1;
}
