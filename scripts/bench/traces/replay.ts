/**
 * Replays recorded runs through the broker's own functions, on a database: the manifest is published, each
 * run opens a session, says what the person said, asks for each call before it and reports how it came out.
 */
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { finishAction, finishReads } from '../../../broker/actions/finish-action.ts';
import { type ActionDeps, actionReads, keyedDigest, requestAction } from '../../../broker/actions/request-action.ts';
import { sayWords } from '../../../broker/actions/say-words.ts';
import { systemClock } from '../../../broker/core/clock.ts';
import { WritError } from '../../../broker/core/errors.ts';
import type { Reason } from '../../../broker/core/vocabulary.ts';
import { deriveKey } from '../../../broker/keys/key-encryption-key.ts';
import { openKeyRing } from '../../../broker/keys/ring.ts';
import { createRowProofs } from '../../../broker/keys/row-proofs.ts';
import { createSeal } from '../../../broker/keys/seal.ts';
import { keyedMark } from '../../../broker/leases/credential-marks.ts';
import { createCatalog } from '../../../broker/manifests/catalog.ts';
import type { Manifest } from '../../../broker/manifests/manifest.ts';
import { publishManifest } from '../../../broker/manifests/publish.ts';
import { type Caller, readSession, type SessionReads } from '../../../broker/sessions/authenticate.ts';
import { openSession } from '../../../broker/sessions/open-session.ts';
import { createSessionTokens } from '../../../broker/sessions/session-token.ts';
import { openStore } from '../../../broker/store/open.ts';
import { providerModules } from '../../../providers/registry.ts';
import type { Place } from '../servers.ts';
import { taskOf } from './person.ts';
import type { RecordedCall, Trace } from './read-traces.ts';
import { structuredOf } from './structured.ts';

/** How far a replayed run came. */
export interface Replayed {
  /** False: its prompt does not have what the manifest's task type asks for. */
  opened: boolean;
  /** Calls that were asked for. */
  asked: number;
  /** Number of the call that was not allowed, from 0; the replay ends with it. null = all were. */
  stoppedAt: number | null;
  reasons: Reason[];
}

/** Of all providers, so that a manifest may have capabilities as well. No credential is asked for. */
const shapes = Object.fromEntries(providerModules.map(({ name, params }) => [name, { params }]));

/** Long enough for any run, so that none of them ends by itself. */
const heartbeat = { seconds: 3600, misses: 3 };

export type World = Awaited<ReturnType<typeof openWorld>>;

export async function openWorld(place: Place) {
  const clock = systemClock;
  const kek = randomBytes(32);
  const { DATABASE_URL: databaseUrl = null, WRIT_DATA_DIR: dataDir = null } = place.env;
  const store = await openStore({ databaseUrl, dataDir, proofs: createRowProofs(kek) });
  const ring = await openKeyRing(store, { clock, seal: createSeal(kek), longestTokenSeconds: 300 });
  const catalog = createCatalog(store);
  const tokens = createSessionTokens(ring, clock, 'http://localhost', 300);
  const opening = {
    ...{ store, clock, catalog, tokens, heartbeat },
    ...{ maxWallTimeSeconds: 86_400, sessionsPerMinute: 0, maxGrantsPerSession: 1 },
  };
  const deps: ActionDeps = {
    ...{ store, clock, catalog, mintDeadlineSeconds: 30, toldOfEnds: [], notify: () => {} },
    digest: keyedDigest(deriveKey(kek, 'actions')),
    mark: keyedMark(deriveKey(kek, 'credential-marks')),
    log: pino({ enabled: false }),
    ...{ seal: createSeal(kek), approvalTimeoutSeconds: 300, redemptionSeconds: 300, noticeChannels: [] },
    publicUrl: 'http://localhost',
  };

  const session = (caller: Caller, reads: SessionReads = {}) => readSession(store, caller, clock.now(), reads);

  async function open(manifest: Manifest, prompt: string): Promise<Caller> {
    const { agent } = manifest;
    const subject = { issuer: 'http://localhost', subject: 'replay' };
    const { id } = await openSession(opening, {
      principal: { agent, subject, startedBy: null, onBehalfOf: null, responsible: null, shown: [] },
      declaration: { ...taskOf(manifest, prompt), on_behalf_of: null, envelope: {} },
      ...{ jkt: null, shown: [], narrowedTo: null, child: null, requestId: null },
    });
    return { sessionId: id, agent, jkt: null, replay: null };
  }

  const say = async (caller: Caller, text: string) => sayWords(deps, await session(caller), text, null);

  async function ask(caller: Caller, { tool, arguments: args }: RecordedCall) {
    const request = { tool, args, costMicroUsd: null, callId: null, actionId: null, promptedBy: null };
    const facts = await session(caller, await actionReads(deps, caller.agent, request));
    return requestAction(deps, facts, request, null);
  }

  async function finish(caller: Caller, actionId: string, { output, error }: RecordedCall): Promise<void> {
    const report = {
      outcome: error == null ? ('response' as const) : ('error' as const),
      // What an error says, the model reads as well.
      output: [output ?? '', error ?? ''].join('\n').trim(),
      structured: structuredOf(output ?? ''),
      ...{ labels: [], costMicroUsd: null, entities: [], truncated: false, outputDigest: null },
    };
    const facts = await session(caller, await finishReads(deps, caller.agent, actionId, report));
    await finishAction(deps, facts, actionId, report, null);
  }

  return {
    /** Puts a manifest into force for the agent that it names. @throws WritError with every fault of it */
    publish: async (source: string): Promise<Manifest> => {
      const about = { author: 'bench', reason: 'replay', agent: null, expectedVersion: null, requestId: null };
      const { agent } = await publishManifest(store, clock, shapes, { ...about, source });
      return (await catalog.current(agent))!.compiled.manifest;
    },
    replay: async (manifest: Manifest, { prompt, steps }: Trace): Promise<Replayed> => {
      const caller = await open(manifest, prompt).catch((error: unknown) => {
        if (error instanceof WritError && error.code === 'invalid_authorization_details') return null;
        throw error;
      });
      if (caller === null) return { opened: false, asked: 0, stoppedAt: null, reasons: [] };
      if (prompt !== '') await say(caller, prompt);
      let asked = 0;
      for (const step of steps) {
        if ('user' in step) {
          await say(caller, step.user);
          continue;
        }
        const { effect, reasons, actionId } = await ask(caller, step);
        asked += 1;
        if (effect !== 'allow') return { opened: true, asked, stoppedAt: asked - 1, reasons };
        await finish(caller, actionId, step);
      }
      return { opened: true, asked, stoppedAt: null, reasons: [] };
    },
    close: () => store.close(),
  };
}
