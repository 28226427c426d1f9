/** A digest in words, for the channels that write text. Pure. */
import { moment } from '../broker/console/text.ts';
import type { Digest } from './contract.ts';

/** @returns plain text to be escaped, one fact a line; an empty line where a paragraph ends */
export function digestWords({ owner, from, until, totals, lines, people, hasty }: Digest): {
  title: string;
  text: string[];
} {
  const { approved, ahead, denied, expired, lapsed, automatic } = totals;
  const asked = approved + ahead + denied + expired + lapsed;
  const ends = [`${approved} approved`, `${denied} denied`, `${expired} expired`];
  if (ahead > 0) ends.push(`${ahead} approved ahead of time`);
  if (lapsed > 0) ends.push(`${lapsed} lapsed`);
  return {
    title: `Decided for ${owner}: ${asked} asked, ${automatic} given without asking`,
    text: [
      `In the name of ${owner}, from ${moment(from)} to ${moment(until)}: ${asked} asked (${ends.join(', ')}), and ${automatic} given by policy without asking anybody.`,
      ...(hasty === 0 ? [] : [`${hasty} approved faster than a person can read.`]),
      '',
      ...lines,
      ...(people.length === 0 ? [] : ['', 'Who answered:', ...people]),
    ],
  };
}
