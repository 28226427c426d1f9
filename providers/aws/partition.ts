/**
 * Partitions: parts of AWS that share nothing, each with its own regions, ARNs and STS. A role of one cannot
 * be assumed at the STS of another, whatever is configured. Pure.
 */

/** How regions of each begin, where they do not begin with two letters and a place. */
const beginnings: readonly (readonly [RegExp, string])[] = [
  [/^cn-/, 'aws-cn'],
  [/^us-gov-/, 'aws-us-gov'],
  [/^eusc-/, 'aws-eusc'],
  [/^us-iso-/, 'aws-iso'],
  [/^us-isob-/, 'aws-iso-b'],
  [/^us-isof-/, 'aws-iso-f'],
  [/^eu-isoe-/, 'aws-iso-e'],
  [/^[a-z]{2}-[a-z]+-\d/, 'aws'],
];

/** What AWS calls regions, today's and those to come: `eu-west-1`, `us-gov-west-1`, `eusc-de-east-1`. */
export const regionName = /^[a-z]{2,8}(?:-[a-z]+)+-\d{1,2}$/;

/** The partition that a region belongs to; null where nobody here knows: then AWS will say. */
export const partitionOfRegion = (region: string): string | null =>
  beginnings.find(([begins]) => begins.test(region))?.[1] ?? null;

/** The partition that an ARN names. */
export const partitionOf = (arn: string): string => arn.split(':')[1] ?? 'aws';
