/**
 * A broker that is started only to be described: every provider on, nothing contacted, addresses that are
 * nobody's.
 */
import { generateKeyPairSync } from 'node:crypto';
import { startBroker } from '../../broker/compose/start.ts';
import { systemClock } from '../../broker/core/clock.ts';
import type { Provider, ProviderDeps, ProviderModule } from '../../providers/contract.ts';
import type { OpenApi } from './http-api.ts';

/** Stands for the address of whoever reads it. */
const publicUrl = 'https://writ.example.com';

/**
 * The least that switches each provider on. A new provider adds its line here; until then its settings say
 * what is missing.
 */
export function sampleEnvironment(): Record<string, string> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return {
    WRIT_AWS_ROLES: 'arn:aws:iam::111122223333:role/writ-orders',
    GITHUB_APP_ID: '1001',
    GITHUB_APP_PRIVATE_KEY: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    WRIT_GCP_SERVICE_ACCOUNTS: 'writ-pool-001@my-agents.iam.gserviceaccount.com',
    WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: 'projects/1/locations/global/workloadIdentityPools/writ/providers/writ',
    WRIT_POSTGRES_URL: 'postgres://writ_broker:secret@db.example.com/shop',
  };
}

const described: ProviderDeps = {
  clock: systemClock,
  signIdentityToken: () => Promise.reject(new Error('a described provider mints nothing')),
};

export function sampleProviders(modules: readonly ProviderModule[], env: Record<string, string>): Provider[] {
  return modules.map((module) => module.create(module.settings.parse(env), described));
}

/**
 * What `/openapi.json` answers. Asked of a running broker, because only its composition knows which
 * operations there are.
 */
export async function openApi(env: Record<string, string>): Promise<OpenApi> {
  // What is there only when it is configured is documented too.
  const signals = {
    WRIT_SIGNALS_ISSUER: 'https://idp.example',
    WRIT_SIGNALS_PUSH_TOKEN: 'a-sample-push-token',
    WRIT_STREAMS: 'sample',
    WRIT_STREAM_SAMPLE_AUDIENCE: 'https://siem.example',
    WRIT_STREAM_SAMPLE_TOKEN: 'a-sample-stream-token',
  };
  const broker = await startBroker({ ...env, ...signals, PORT: '0', WRIT_LOG_LEVEL: 'silent' }, { inMemory: true });
  try {
    const answer = await fetch(`${broker.url}/openapi.json`);
    if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
    return JSON.parse((await answer.text()).replaceAll(broker.url, publicUrl)) as OpenApi;
  } finally {
    await broker.stop();
  }
}
