/**
 * `npm run quickstart [-- OPTIONS]`: the whole way on this machine, with nothing but Node. Everything it
 * makes is in one temporary folder, which goes with it.
 */
import { parseArgs } from 'node:util';
import { openPlace } from './quickstart/place.ts';

const usage = `npm run quickstart [-- OPTIONS]: the whole way of Writ on this machine, with nothing but Node

  --yes            the demo approver signs in and approves, through the same pages a person would use
  --slack          the first approval is given in a Slack of its own; opens its page, with the card
  --keep           leaves everything running afterwards, with commands to try; Ctrl-C ends it
  --wait SECONDS   how long a person has to decide (300, at least 5)
`;

const options = readOptions(process.argv.slice(2));
const place = openPlace();
console.log('Starting the broker and its surroundings on loopback …');
place.doing('loading the broker');
// What it loads takes longer than a first line may.
const { goTheWholeWay } = await import('./quickstart/whole-way.ts');
try {
  const failed = await goTheWholeWay(options, place);
  await place.close(failed === 0 ? 0 : 1);
} catch (error) {
  const { whyNotStarted } = await import('../broker/compose/start.ts');
  console.error(`✘ ${whyNotStarted(error, process.env)}`);
  await place.close(1);
}

/** Ends the process when help is all that is wanted, or an option is none. */
function readOptions(args: string[]): { yes: boolean; slack: boolean; keep: boolean; waitSeconds: number } {
  const no = { type: 'boolean', default: false } as const;
  try {
    const { values } = parseArgs({
      args,
      options: { yes: no, slack: no, keep: no, help: { ...no, short: 'h' }, wait: { type: 'string', default: '300' } },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const waitSeconds = Number(values.wait);
    if (!Number.isInteger(waitSeconds) || waitSeconds < 5 || waitSeconds > 86_400)
      throw new Error(`--wait: ${values.wait} is no whole number of seconds from 5 to 86400`);
    return { yes: values.yes, slack: values.slack, keep: values.keep, waitSeconds };
  } catch (error) {
    console.error(`✘ ${(error as Error).message.split('. ')[0]}\n\n${usage}`);
    process.exit(2);
  }
}
