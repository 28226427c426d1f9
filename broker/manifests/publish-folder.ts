/** WRIT_MANIFEST_DIR: manifests that are files, published when the broker starts. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';
import type { ProviderShapes } from './check.ts';
import { publishManifest } from './publish.ts';

/**
 * Publishes what differs from the version in force. A file that does not hold is reported and leaves the
 * running version alone.
 */
export async function publishFolder(
  folder: string,
  store: Store,
  clock: Clock,
  shapes: ProviderShapes,
  log: Logger,
): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name)).sort();
  for (const name of names) {
    const source = await readFile(join(folder, name), 'utf8');
    try {
      const input = {
        source,
        author: 'WRIT_MANIFEST_DIR',
        reason: `loaded from ${name}`,
        agent: null,
        expectedVersion: null,
        requestId: null,
        // A restart must not put back in force what somebody replaced since: going back is a publication of
        // its own.
        unlessPublishedBefore: true,
      };
      const published = await publishManifest(store, clock, shapes, input);
      if (published.outcome === 'superseded') {
        log.warn(
          { file: name, ...published },
          'manifest left out: a newer version replaced this very one; publish it to go back',
        );
      } else log.info({ file: name, ...published }, `manifest ${published.outcome}`);
    } catch (error) {
      const faults = error instanceof WritError ? error.errors : undefined;
      log.error({ file: name, faults, err: error }, 'manifest refused; the version in force stays');
    }
  }
}
