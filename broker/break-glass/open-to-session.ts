/**
 * Whether the glass is broken for what a session asks for. Asked only where the manifest in force marks the
 * capability and refuses the request: an ordinary decision costs nothing by it.
 */
import type { Statement, Store } from '../store/open.ts';
import type { NamedCapability } from './digest.ts';
import { lineOf, mayBeParty } from './parties.ts';
import { isSigned } from './passkey.ts';
import { breakGlassColumns, isOpen, peopleOf, type StoredBreakGlass } from './stored-break-glass.ts';
import { areTwo } from './who-may.ts';

/** An open break-glass, as far as a grant needs it. */
export interface OpenBreakGlass {
  id: string;
  expiresAt: Date;
  /** The two, `user:…`. */
  by: string[];
}

const openStatement: Statement = {
  name: 'break_glass_open',
  text: `
    SELECT ${breakGlassColumns} FROM break_glass b
    WHERE b.status = 'active' AND b.agent = $1::text AND (b.session_id IS NULL OR b.session_id = $2::text) AND b.expires_at > $3::timestamptz
    ORDER BY b.expires_at DESC, b.id LIMIT 20`,
};

/** @returns the one that stays open longest; null = the glass is whole */
export async function openToSession(
  store: Store,
  session: { id: string; agent: string },
  capability: NamedCapability,
  now: Date,
): Promise<OpenBreakGlass | null> {
  const rows = await store.run<StoredBreakGlass>(openStatement, [session.agent, session.id, now]);
  const open = rows.filter(
    (row) =>
      isOpen(store, row, now) &&
      areTwo(row) &&
      isSigned(row) &&
      row.capabilities.some(({ name, definition }) => name === capability.name && definition === capability.definition),
  );
  if (open.length === 0) return null;
  const line = await lineOf(store, session.id);
  const found = line === null ? undefined : open.find((row) => !peopleOf(row).some((one) => mayBeParty(one, line)));
  if (found === undefined) return null;
  return { id: found.id, expiresAt: found.expires_at!, by: [found.requested_by, found.approved_by!] };
}
