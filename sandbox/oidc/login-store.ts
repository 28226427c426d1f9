/**
 * Where one login provider keeps its sessions and codes: in memory, apart from every other's (the library's
 * own default is shared by the whole process). Nothing is swept: what has expired the library refuses by its
 * `exp`, and a demo is short.
 */
import type { Adapter, AdapterFactory, AdapterPayload } from 'oidc-provider';

export function loginStore(): AdapterFactory {
  const rows = new Map<string, AdapterPayload>();
  return (model): Adapter => {
    const key = (id: string) => `${model}:${id}`;
    const first = (fits: (row: AdapterPayload) => boolean) =>
      [...rows].find(([at, row]) => at.startsWith(`${model}:`) && fits(row))?.[1];
    return {
      upsert: async (id, payload) => void rows.set(key(id), payload),
      find: async (id) => rows.get(key(id)),
      findByUid: async (uid) => first((row) => row.uid === uid),
      findByUserCode: async (userCode) => first((row) => row.userCode === userCode),
      consume: async (id) => {
        const row = rows.get(key(id));
        if (row !== undefined) row.consumed = true;
      },
      destroy: async (id) => void rows.delete(key(id)),
      revokeByGrantId: async (grantId) => {
        for (const [at, row] of rows) if (row.grantId === grantId) rows.delete(at);
      },
    };
  };
}
