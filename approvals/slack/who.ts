/**
 * Who somebody of the workspace is to the broker: by the map in the settings, or by the confirmed e-mail of a
 * full member. Somebody who is signed in on the web is the person of that login, with their groups. Anybody
 * else has no groups, and every name that accounts with that e-mail ever had bars them.
 */
import type { WebClient } from '@slack/web-api';
import { canonicalEmail } from '../../broker/core/identifier.ts';
import { findByEmail } from '../../broker/people/find-by-email.ts';
import type { Identity } from '../../broker/people/identity.ts';
import type { PagesDeps } from '../contract.ts';

export interface WhoSettings {
  SLACK_TEAM_ID: string;
  WRIT_SLACK_PEOPLE: ReadonlyMap<string, string>;
  WRIT_SLACK_VERIFIED_EMAILS: boolean;
}

/**
 * @returns null when nobody can tell who it is
 * @throws WritError `unavailable` when the identity provider must be asked and does not answer; whatever
 *   Slack's client throws
 */
export async function whoIs(
  slack: WebClient,
  settings: WhoSettings,
  deps: PagesDeps,
  userId: string,
): Promise<Identity | null> {
  const { user } = await slack.users.info({ user: userId });
  const stranger = user?.team_id !== settings.SLACK_TEAM_ID || user.is_stranger === true;
  if (user === undefined || user.id !== userId || stranger || user.deleted === true || user.is_bot === true)
    return null;
  const guest = user.is_restricted === true || user.is_ultra_restricted === true;
  const confirmed = settings.WRIT_SLACK_VERIFIED_EMAILS && !guest && user.is_email_confirmed === true;
  const said = confirmed ? canonicalEmail(user.profile?.email ?? '') : null;
  const email = settings.WRIT_SLACK_PEOPLE.get(userId) ?? said;
  if (email === null) return null;

  const known = await findByEmail(deps, email);
  const issuer = `https://slack.com/team/${settings.SLACK_TEAM_ID}`;
  // A handle can be changed by its holder: it bars, and proves nothing.
  const handle = user.name === undefined || user.name === '' ? [] : [{ kind: 'username', value: user.name }];
  const names = [...known.names, ...handle, { kind: 'subject', value: userId, issuer }];
  if (known.signedIn !== null) return { ...known.signedIn, former: [...(known.signedIn.former ?? []), ...names] };
  const listed = known.names.some((name) => name.kind === 'subject' && name.issuer === deps.signInIssuer);
  return {
    issuer,
    subject: userId,
    email,
    emailVerified: true,
    groups: [],
    groupsUnknown: true,
    aliases: [],
    former: names,
    ...(listed || deps.signInIssuer === null ? {} : { subjectUnknownAt: deps.signInIssuer }),
  };
}
