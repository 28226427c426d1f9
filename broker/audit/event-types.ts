/** The closed list of what the record can say. A test holds it against what was written. */
export const eventTypes = {
  'session.opened': 'A session was opened for one task.',
  'session.refused': 'A request to open a session was refused.',
  'session.misused':
    'A token of the session came without a proof that holds, as a thief would send it; `reason` says what was wrong. With `dropped`: how many more there were in that minute.',
  'session.ended': 'A session ended; its leases are being revoked.',
  'grant.refused':
    'A request came to no grant: no such capability, malformed parameters, or an approval that no longer holds.',
  'grant.allowed': 'Policy alone allowed a grant; the intent to mint was written down.',
  'grant.pending': 'A grant waits for a person.',
  'grant.denied': 'A grant was denied: by policy, by a person, or because nobody decided in time.',
  'grant.approved': 'A person approved the plan of a grant.',
  'grant.redeemed': 'The agent came for an approved grant; the intent to mint was written down.',
  'grant.ended': 'A grant is over.',
  'review.refused': 'Somebody who may not decide on a grant tried to.',
  'lease.issued': 'A credential was minted and delivered.',
  'lease.withheld': 'A credential was minted after its session had ended; it was not delivered and is being revoked.',
  'lease.failed': 'The provider minted nothing.',
  'lease.revoking': 'Revocation began.',
  'lease.settling': 'The provider took the order; its lag has not passed yet.',
  'lease.revoke_failed': 'An attempt to revoke failed; it will be tried again until the natural end.',
  'lease.revoked': 'The provider’s word, read back where it can be, shows that the credential is dead.',
  'lease.expired': 'The credential reached its natural end.',
  'pool.released': 'A pool member may be used again: the last credential minted on it has expired.',
  'manifest.published': 'A manifest version came into force.',
  'key.created': 'A signing key was created.',
  'admin.bootstrap': 'The bootstrap token was made and printed once.',
  'person.signed_in': 'A person signed in.',
  'person.signed_out': 'A person signed out.',
} as const;

export type EventType = keyof typeof eventTypes;
