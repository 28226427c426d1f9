/** `POST /v1/admin/diagnosis`: what `writ doctor` asks a running broker. */
import { z } from 'zod';
import { type DiagnoseDeps, diagnose } from '../diagnose/diagnose.ts';
import { type Operation, operation } from './operation.ts';

const findingSchema = z.object({
  part: z.string().describe('`database`, `redis`, `issuer`, `sign-in`, or the name of a provider or channel.'),
  what: z.string().describe('What was looked at, as a statement.'),
  state: z
    .enum(['holds', 'fails', 'unknown'])
    .describe('`unknown`: it could not be told, or nothing of the kind is set up.'),
  found: z.string().optional().describe('What was found instead, or why it could not be told.'),
  fix: z.string().optional().describe('What to do about it.'),
});

export function diagnosisOperations(deps: DiagnoseDeps): Operation[] {
  // One at a time: whoever asks while it runs is told the same.
  let running: ReturnType<typeof diagnose> | null = null;
  return [
    operation({
      method: 'post',
      path: '/v1/admin/diagnosis',
      summary: 'Ask everything that the broker leans on whether it is as it should be',
      tag: 'Admin',
      access: 'admin',
      responses: {
        200: {
          description: 'What was looked at. Nothing is changed; no secret is told',
          schema: z.object({
            holds: z.boolean().describe('Whether nothing fails.'),
            findings: z.array(findingSchema),
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden'],
      handle: async () => {
        running ??= diagnose(deps).finally(() => {
          running = null;
        });
        const findings = await running;
        return { status: 200, body: { holds: findings.every(({ state }) => state !== 'fails'), findings } };
      },
    }),
  ];
}
