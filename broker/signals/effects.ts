/** Which events of a signal do something here, and what. Pure. docs/signals.md says why. */
import type { SignalEffect } from '../core/reasons.ts';
import type { JsonObject } from '../core/vocabulary.ts';

const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
const risc = 'https://schemas.openid.net/secevent/risc/event-type/';

/** By event type; whatever is not here is put on record and does nothing. */
const effects: { readonly [event: string]: (event: JsonObject) => SignalEffect } = {
  [`${caep}session-revoked`]: () => 'sign_off',
  [`${caep}credential-change`]: ofCredentialChange,
  [`${risc}account-disabled`]: () => 'sign_off_owner',
  [`${risc}account-purged`]: () => 'sign_off_owner',
  [`${risc}account-enabled`]: () => 'owner_back',
  [`${risc}credential-compromise`]: () => 'sign_off',
  // Of drafts of RISC, and still sent; CAEP's `session-revoked` is its successor.
  [`${risc}sessions-revoked`]: () => 'sign_off',
};

export function effectOf(type: string, event: JsonObject): SignalEffect {
  return Object.hasOwn(effects, type) ? (effects[type]?.(event) ?? 'none') : 'none';
}

/**
 * Whoever adds, renews or removes a credential of their own signs in anew, and what runs for them goes on. A
 * credential that was revoked, or that somebody else took away, may have been in other hands: all of it ends.
 * So it does where the event does not say what the change was (CAEP 1.0 section 3.3.1 requires it).
 */
function ofCredentialChange({ change_type: change, initiating_entity: by }: JsonObject): SignalEffect {
  if (change === 'create' || change === 'update') return 'sign_out';
  return change === 'delete' && by === 'user' ? 'sign_out' : 'sign_off';
}
