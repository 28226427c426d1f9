/** Finds the weak settings that this broker runs with (the list is `config/weak-settings.ts`). */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type WeakSetting, weakSettings } from '../config/weak-settings.ts';
import { bootstrapOpens } from '../people/admin-access.ts';
import type { Parts } from './parts.ts';

export async function findWeakSettings({ settings, store, trust, url }: Parts): Promise<WeakSetting[]> {
  const { WRIT_TRUST_FILE: trustFile, WRIT_KEY_ENCRYPTION_KEY: key, WRIT_DATA_DIR: folder } = settings;
  return weakSettings({
    settings,
    url,
    embedded: store.backend === 'pglite',
    keyFileMode: key === undefined ? await modeOf(join(folder, 'key-encryption-key')) : null,
    trustFileMode: trustFile === undefined ? null : await modeOf(trustFile),
    bootstrapTokenOpens: await bootstrapOpens(store),
    withoutStarter: [
      ...trust.bindings
        .filter(({ startedBy, responsible }) => startedBy === null && responsible === null)
        .map(({ issuerName, agent }) => `${agent} (${issuerName})`),
      ...[...trust.clients.values()]
        .filter(({ responsible }) => responsible === null)
        .map(({ agent, clientId }) => `${agent} (client ${clientId})`),
    ],
  });
}

/** Null when there is no such file, and where files have no mode (Windows). */
async function modeOf(path: string): Promise<number | null> {
  if (process.platform === 'win32') return null;
  return stat(path).then(
    ({ mode }) => mode,
    () => null,
  );
}
