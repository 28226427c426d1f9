/** What the manifests in force ask of each provider: the questions that a diagnosis puts to it. */

import { sampleParams } from '../manifests/check-plans.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import type { ProviderShapes } from '../manifests/provider-shapes.ts';
import { manifestHolds } from '../manifests/publish.ts';
import type { Store } from '../store/open.ts';

/** So many sets of parameters are asked about, of each provider. */
const most = 100;

/** By provider; each as its schema leaves it, once. */
export async function usedParams(store: Store, shapes: ProviderShapes): Promise<Map<string, unknown[]>> {
  const used = new Map<string, Map<string, unknown>>();
  for (const { name: agent, version } of await store.prisma.agent.findMany({ orderBy: { name: 'asc' } })) {
    const row = await store.prisma.manifest.findUnique({ where: { agent_version: { agent, version } } });
    if (row === null || !manifestHolds(store, row)) continue;
    const { manifest } = row.compiled as unknown as CompiledManifest;
    for (const capability of Object.values(manifest.capabilities)) {
      const shape = shapes[capability.provider];
      if (shape === undefined) continue;
      const of = used.get(capability.provider) ?? new Map<string, unknown>();
      used.set(capability.provider, of);
      for (const params of sampleParams(manifest, capability, shape))
        if (of.size < most) of.set(JSON.stringify(params), params);
    }
  }
  return new Map([...used].map(([provider, params]) => [provider, [...params.values()]]));
}
