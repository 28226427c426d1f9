/** What the person says during a run, as the agent’s host reports it: these words are trusted. */
import { hash } from 'node:crypto';
import { eventPayload } from '../audit/events.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { untilSettled } from '../sessions/session-lock.ts';
import { storedWrites } from './move-cells.ts';
import { wordsOf } from './origin.ts';
import { wordCells, wordsSaid } from './outcome.ts';
import { type ActionDeps, cellsOf } from './request-action.ts';
import { recordWords } from './statements.ts';

/**
 * Marks the words of a text as the person's own. Of one text, those beyond `maxWords` are not: what is not
 * known to be the person's is not trusted.
 * @returns how many of its words are trusted now
 */
export async function sayWords(
  deps: ActionDeps,
  admitted: SessionFacts,
  text: string,
  requestId: string | null,
): Promise<number> {
  const { words } = wordsOf(text, 1);
  const cells = wordCells(words, deps.digest);
  const audit = eventPayload('session.words_said', {
    digest: `sha256:${hash('sha256', text, 'hex')}`,
    words: words.length,
  });
  return untilSettled(admitted.rootId, async () => {
    const published = await deps.catalog.inForce(admitted.agent, admitted.currentManifestVersion);
    const { manifest } = published.compiled;
    const now = deps.clock.now();
    const session = await rereadSession(deps.store, admitted, now, { cells, owner: manifest.owner });
    const writes = storedWrites(wordsSaid(words, cellsOf(session), deps.digest), session, manifest);
    const position = { sessionId: session.id, rootId: session.rootId, version: session.version, at: now };
    const written = await recordWords(deps.store, position, { agent: session.agent, requestId, audit }, writes);
    return written ? words.length : null;
  });
}
