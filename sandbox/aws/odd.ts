/** Answers of STS that no broker must believe, made from a true one. */

export type OddAnswer =
  /** The session ended an hour ago. */
  | 'ends-in-the-past'
  /** The session lives for a week. */
  | 'ends-too-late'
  /** The session ends after five minutes. */
  | 'ends-soon'
  /** It is a session of another role. */
  | 'another-role'
  /** It is a session of another name. */
  | 'another-name'
  /** It is a session of another account. */
  | 'another-account'
  /** `aws:userid` ends in another name than the session has. */
  | 'another-userid'
  /** A line break stands in the token. */
  | 'broken-token';

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
    case 'ends-soon':
      return ends(-600_000);
    case 'another-role':
      return xml.replace(/(assumed-role\/)[^/<]+\//, '$1another/');
    case 'another-name':
      return xml.replace(/(assumed-role\/[^/<]+\/)[^<]+</, '$1another<');
    case 'another-account':
      return xml.replace(/<Arn>arn:aws:sts::\d{12}:/, '<Arn>arn:aws:sts::999988887777:');
    case 'another-userid':
      return xml.replace(/<AssumedRoleId>([^:<]+):[^<]+</, '<AssumedRoleId>$1:another<');
    case 'broken-token':
      return xml.replace(/<SessionToken>([^<]{8})/, '<SessionToken>$1\n');
  }
}
