/** Whether Redis is there, and keeps what is put into it. */
import type { Finding } from '../core/vocabulary.ts';
import { findingOf } from './finding.ts';

export async function diagnoseRedis(url: string, signal: AbortSignal): Promise<Finding[]> {
  const there = 'Redis answers';
  const { Redis } = await import('ioredis');
  const redis = new Redis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    connectTimeout: 3_000,
    commandTimeout: 3_000,
    disconnectTimeout: 100,
    retryStrategy: () => null,
  });
  // Why there is no connection is told here alone.
  let why: string | undefined;
  redis.on('error', ({ code }: NodeJS.ErrnoException) => {
    why ??= code;
  });
  const cut = () => redis.disconnect();
  signal.addEventListener('abort', cut, { once: true });
  try {
    await redis.connect();
    const policy = /^maxmemory_policy:(\S+)/m.exec(await redis.info('memory'))?.[1];
    const keeps = 'Redis throws nothing away when it is full (maxmemory-policy noeviction)';
    return [
      { what: there, state: 'holds' },
      policy === undefined
        ? { what: keeps, state: 'unknown', found: 'it does not say' }
        : findingOf(
            keeps,
            policy === 'noeviction' ? null : `the policy is ${policy.slice(0, 40)}`,
            'Set maxmemory-policy to noeviction (CONFIG SET, and in redis.conf).',
          ),
    ];
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const said = why ?? code ?? /^(NOAUTH|WRONGPASS|NOPERM|LOADING|MISCONF)\b/.exec(message)?.[1] ?? 'no connection';
    return [
      {
        what: there,
        state: 'fails',
        found: String(said),
        fix: 'Look at REDIS_URL: host, port, password, and rediss:// where it wants TLS. Without Redis, work waits for the next beat.',
      },
    ];
  } finally {
    signal.removeEventListener('abort', cut);
    redis.disconnect();
  }
}
