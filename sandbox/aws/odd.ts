/** Answers of STS that no broker must believe, made from a true one. */

export type OddAnswer =
  /** The session ended an hour ago. */
  | 'ends-in-the-past'
  /** The session lives for a week. */
  | 'ends-too-late'
  /** It is a session of another role. */
  | 'another-role'
  /** It is a session of another name. */
  | 'another-name';

export function oddly(xml: string, odd: OddAnswer): string {
  const ends = (shiftMs: number) =>
    xml.replace(/<Expiration>([^<]+)</, (_whole, told: string) => {
      return `<Expiration>${new Date(Date.parse(told) + shiftMs).toISOString().replace(/\.\d+Z$/, 'Z')}<`;
    });
  switch (odd) {
    case 'ends-in-the-past':
      return ends(-24 * 3600_000);
    case 'ends-too-late':
      return ends(7 * 24 * 3600_000);
    case 'another-role':
      return xml.replace(/(assumed-role\/)[^/<]+\//, '$1another/');
    case 'another-name':
      return xml.replace(/(assumed-role\/[^/<]+\/)[^<]+</, '$1another<');
  }
}
