/**
 * WRIT_MANIFEST_DIR: manifests that are files, published when the broker starts. What an outage kept from
 * being published is tried again until it is: a process must not serve on an older and perhaps wider policy
 * than it was given.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { backoffMs } from '../core/backoff.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';
import type { ProviderShapes } from './check.ts';
import { publishManifest } from './publish.ts';
import { isManifest } from './read.ts';

export interface FolderDeps {
  folder: string;
  store: Store;
  clock: Clock;
  shapes: ProviderShapes;
  /** What allows more waits for an admin (WRIT_MANIFEST_REVIEW). */
  review: boolean;
  log: Logger;
  /** Jitter, 0 to 1. */
  random(): number;
}

export interface PublishedFolder {
  /** Resolves when nothing is left that trying again could cure; at once when there was no outage. */
  readonly settled: Promise<void>;
  /** Whether it has. */
  isSettled(): boolean;
  /** Which files are not in force as given, and why, in words; null = all are. */
  fault(): string | null;
  /** Which were left out because their text was in force before, and how to go back to it; null = none. */
  leftOut(): string | null;
  stop(): Promise<void>;
}

/**
 * Publishes what differs from the version in force. A file that does not hold is reported and leaves the
 * running version alone.
 * @returns after the first round; what an outage kept back is tried again from then on
 */
export async function publishFolder(deps: FolderDeps): Promise<PublishedFolder> {
  const { clock, log, random } = deps;
  const names = (await readdir(deps.folder)).filter(isManifest).sort();
  const refused: string[] = [];
  const superseded: string[] = [];
  let left = names;
  let rounds = 0;
  const round = async () => {
    rounds += 1;
    const kept: string[] = [];
    for (const name of left) {
      const outcome = await publishFile(deps, name, rounds);
      if (outcome === 'refused') refused.push(name);
      if (outcome === 'kept back') kept.push(name);
      if (outcome === 'left out') superseded.push(name);
    }
    left = kept;
  };
  await round();

  const stopping = new AbortController();
  const retrying = (async () => {
    while (left.length > 0 && !stopping.signal.aborted) {
      await clock.sleep(backoffMs(rounds, random(), 30_000), stopping.signal).catch(() => {});
      if (!stopping.signal.aborted) await round();
    }
    if (rounds > 1 && left.length === 0) log.info({ rounds }, 'the manifests that were kept back are published');
  })();
  return {
    settled: retrying,
    isSettled: () => left.length === 0,
    fault: () => {
      const parts = [
        ...(left.length === 0 ? [] : [`not published yet, tried again: ${left.join(', ')}`]),
        ...(refused.length === 0
          ? []
          : [`refused, an older version stays in force (the log says why): ${refused.join(', ')}`]),
      ];
      return parts.length === 0 ? null : parts.join('; ');
    },
    leftOut: () =>
      superseded.length === 0
        ? null
        : `in force before, and replaced since: ${superseded.join(', ')}; to go back: npx writ manifest publish FILE`,
    stop: async () => {
      stopping.abort();
      await retrying;
    },
  };
}

/**
 * `left out`: its text was in force before. `refused`: the file does not hold, and trying again does not
 * help. `kept back`: it may.
 */
async function publishFile(
  { folder, store, clock, shapes, review, log }: FolderDeps,
  name: string,
  round: number,
): Promise<'done' | 'left out' | 'refused' | 'kept back'> {
  try {
    const published = await publishManifest(store, clock, shapes, {
      source: await readFile(join(folder, name), 'utf8'),
      author: 'WRIT_MANIFEST_DIR',
      reason: `loaded from ${name}`,
      agent: null,
      expectedVersion: null,
      requestId: null,
      // A restart must not put back in force what somebody replaced since: going back is a publication of
      // its own.
      unlessPublishedBefore: true,
      ...(review ? { reviewFor: { kind: 'folder' } } : {}),
    });
    if (published.warnings !== undefined)
      log.warn({ file: name, warnings: published.warnings }, 'manifest taken, with warnings');
    if (published.outcome === 'superseded') {
      log.warn(
        { file: name, ...published },
        `manifest left out: this very text was in force before version ${published.version} replaced it, and a restart puts nothing back. To go back, as an admin (WRIT_URL, WRIT_ADMIN_TOKEN): npx writ manifest publish ${join(folder, name)}`,
      );
      return 'left out';
    }
    if (published.outcome === 'proposed' || published.outcome === 'refused') {
      log.warn(
        { file: name, ...published },
        published.outcome === 'proposed'
          ? 'manifest allows more than the version in force, and waits for an admin; the version in force stays'
          : 'manifest left out: an admin refused it; the version in force stays',
      );
    } else log.info({ file: name, ...published }, `manifest ${published.outcome}`);
    return 'done';
  } catch (error) {
    if (error instanceof WritError && error.code === 'invalid_manifest') {
      log.error(
        { file: name, faults: error.errors, err: error },
        'manifest refused; the version in force stays, and this process does not become ready',
      );
      return 'refused';
    }
    // Said once a file: the rounds that follow are the same outage.
    if (round === 1)
      log.error({ file: name, err: error }, 'manifest not published; it is tried again, and nothing is served before');
    return 'kept back';
  }
}
