/** Finds the weak settings that this broker runs with (the list is `config/weak-settings.ts`). */
import { access, constants, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type NamedFile, type WeakSetting, weakSettings } from '../config/weak-settings.ts';
import { isManifest } from '../manifests/read.ts';
import { bootstrapOpens } from '../people/admin-access.ts';
import { roleWarning } from '../store/check-role.ts';
import type { Parts } from './parts.ts';

/** @param env for the files that providers read */
export async function findWeakSettings(
  { settings, store, trust, url }: Parts,
  env: Readonly<Record<string, string | undefined>>,
): Promise<WeakSetting[]> {
  const { WRIT_TRUST_FILE: trustFile, WRIT_KEY_ENCRYPTION_KEY: key, WRIT_DATA_DIR: folder } = settings;
  return weakSettings({
    settings,
    url,
    embedded: store.backend === 'pglite',
    keyFileMode: key === undefined ? await modeOf(join(folder, 'key-encryption-key')) : null,
    trustFileMode: trustFile === undefined ? null : await modeOf(trustFile),
    files: [...(await keyFiles(env)), ...(await ruleFiles(settings))],
    powerfulRole: await roleWarning(store),
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

/** Private keys that variables name: `…_KEY_FILE`, whoever reads it. */
async function keyFiles(env: Readonly<Record<string, string | undefined>>): Promise<NamedFile[]> {
  const named = Object.entries(env).filter(([name, path]) => name.endsWith('_KEY_FILE') && path);
  const found = await Promise.all(
    named.map(async ([variable, path]): Promise<NamedFile[]> => {
      const mode = await modeOf(path!);
      return mode === null ? [] : [{ variable, mode, holds: 'secret' }];
    }),
  );
  return found.flat();
}

/** What decides about agents and approvers, beside the trust file. */
async function ruleFiles({
  WRIT_MANIFEST_DIR: folder,
  WRIT_ONCALL_FILE: rotas,
}: Parts['settings']): Promise<NamedFile[]> {
  const manifests = folder === undefined ? [] : (await readdir(folder).catch(() => [])).filter(isManifest);
  const paths = [
    ...(folder === undefined ? [] : [folder, ...manifests.map((name) => join(folder, name))]).map((path) => ({
      variable: 'WRIT_MANIFEST_DIR',
      path,
    })),
    ...(rotas === undefined ? [] : [{ variable: 'WRIT_ONCALL_FILE', path: rotas }]),
  ];
  const modes = await Promise.all(paths.map(({ path }) => modeOf(path)));
  return ['WRIT_MANIFEST_DIR', 'WRIT_ONCALL_FILE'].flatMap((variable) => {
    const own = modes.filter((_, n) => paths[n]!.variable === variable).filter((mode) => mode !== null);
    return own.length === 0
      ? []
      : [{ variable, mode: own.reduce((one, other) => one | other), holds: 'rules' as const }];
  });
}

/** Null when there is no such file, and where files have no mode (Windows). */
async function modeOf(path: string): Promise<number | null> {
  if (process.platform === 'win32') return null;
  try {
    const { mode } = await stat(path);
    // Volumes of containers are often open to all by their modes, and mounted read-only.
    return (await isReadOnly(path)) ? mode & ~0o222 : mode;
  } catch {
    return null;
  }
}

const isReadOnly = (path: string): Promise<boolean> =>
  access(path, constants.W_OK).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'EROFS',
  );
