/**
 * The suite that every provider passes, with Ceph's radosgw as the counterpart (scripts/radosgw.ts runs it).
 */
import { systemClock } from '../../broker/core/clock.ts';
import { type ConformanceHarness, conformance, type ManualClock } from '../../providers/conformance.ts';
import type { Provider } from '../../providers/contract.ts';
import { startFront } from './front.ts';
import { brokerKey, bucket, endpoint, objects, openStore, providerFor, read } from './store.test-support.ts';

async function harness(): Promise<ConformanceHarness> {
  const store = await openStore();
  const front = await startFront(endpoint);
  const provider = providerFor(store.role, front.url) as unknown as Provider;
  const s3 = { role: store.role, service: 's3', access: 'read', bucket, prefix: 'customers/42/' };
  const expiration = (seconds: number) => (xml: string) =>
    xml.replace(
      /<Expiration>[^<]*<\/Expiration>/,
      `<Expiration>${new Date(systemClock.now().getTime() + seconds * 1000).toISOString()}</Expiration>`,
    );
  const faults = {
    refused: { status: 403, code: 'AccessDenied', message: 'no' },
    unavailable: { status: 503, code: 'ServiceUnavailable', message: 'later' },
    throttled: { status: 400, code: 'Throttling', message: 'Rate exceeded', retryAfterSeconds: 7 },
  };
  return {
    provider,
    clock: systemClock as unknown as ManualClock,
    goodParams: [s3, { ...s3, prefix: undefined, key: objects.inside, access: 'get' }],
    statefulParams: [
      s3,
      { ...s3, prefix: undefined },
      { ...s3, prefix: undefined, key: objects.inside, access: 'get' },
      { ...s3, prefix: undefined, key: `${objects.inside}.new`, access: 'get' },
    ],
    changeState: (params) => store.put((params as { key?: string }).key ?? objects.inside),
    badParams: [
      { params: { ...s3, bucket: '*' }, path: 'bucket' },
      { params: { ...s3, prefix: 'customers/../' }, path: 'prefix' },
    ],
    use: (credential, inside) => read(credential, inside ? objects.inside : objects.outside),
    upstream: {
      requests: front.requests,
      fail: (kind) => front.fault(kind === null || kind === 'hang' ? kind : faults[kind]),
      throttledSeconds: 7,
      odd: {
        'ends-in-the-past': () => front.rewriteOnce(expiration(-60)),
        'ends-too-late': () => front.rewriteOnce(expiration(86_400)),
        'another-name': () => front.rewriteOnce((xml) => xml.replace(/(<Arn>[^<]*\/)[^/<]*(<\/Arn>)/, '$1lse_other$2')),
      },
      expectedRefusalCode: 'AccessDenied',
    },
    // This store lets a session open another; the provider says so at start and in its plans.
    knownFault: /without the limits of the first/,
    breaks: { 'a store that refuses': () => front.fault(faults.refused) },
    output: () => '',
    otherSecrets: () => [brokerKey.secretAccessKey],
    advance: (ms) => systemClock.sleep(ms),
    close: async () => {
      await front.close();
      store.close();
    },
  };
}

conformance('aws on radosgw (ambient credentials, userid, no lag)', harness, true);
