/**
 * What the receiver of an event stream asks the broker for (OpenID Shared Signals Framework 1.0): its stream,
 * a verification event, and what waits for it (RFC 8936). Each has a bearer token of its own.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { type EventStream, streamEvents } from '../core/event-stream.ts';
import type { LongPoller, Poll } from '../core/long-poller.ts';
import type { Clock } from '../core/vocabulary.ts';
import { acknowledge, nextSets, type PollDeps } from '../streams/poll.ts';
import { askForVerification } from '../streams/verify-stream.ts';
import { carriesBearer } from './bearer.ts';
import { type Operation, operation } from './operation.ts';

export interface StreamDeps extends PollDeps {
  clock: Clock;
  streams: readonly EventStream[];
  poller: LongPoller;
  /** Which streams have something to tell; created once. */
  waiting: Poll;
  /** Wakes the workers: there is something to push. */
  notify(): void;
}

const longPollSeconds = 25;
const manyNames = 1_000;

const authorization = { Authorization: 'The receiver’s bearer token, `WRIT_STREAM_NAME_TOKEN`.' };

const push = 'urn:ietf:rfc:8935';
const poll = 'urn:ietf:rfc:8936';

const configuration = z.object({
  stream_id: z.string(),
  iss: z.string(),
  aud: z.string(),
  delivery: z.object({ method: z.enum([push, poll]), endpoint_url: z.string() }),
  events_supported: z.array(z.string()),
  events_delivered: z.array(z.string()),
});

/** None where there is no stream. */
export function streamOperations(deps: StreamDeps): Operation[] {
  const { streams, store, clock, issuer } = deps;
  if (streams.length === 0) return [];
  // Of a stream without a token, and of one that is not there: as long to compare, and never the same.
  const nobodys = randomBytes(32).toString('base64url');
  const isOf = (header: string | undefined, stream: EventStream | undefined) =>
    carriesBearer(header, stream?.token ?? nobodys);
  /** @throws WritError `unauthenticated` */
  const whose = (header: string | undefined): EventStream => {
    const [own] = streams.filter((stream) => isOf(header, stream));
    if (own === undefined) throw new WritError('unauthenticated', { detail: 'It is the token of no stream.' });
    return own;
  };
  const pollUrl = (name: string) => `${issuer}/v1/streams/${name}/poll`;
  const configurationOf = ({ name, audience, events, push: to }: EventStream): z.output<typeof configuration> => ({
    stream_id: name,
    iss: issuer,
    aud: audience,
    delivery: to === null ? { method: poll, endpoint_url: pollUrl(name) } : { method: push, endpoint_url: to.url },
    events_supported: Object.values(streamEvents),
    events_delivered: events.map((event) => streamEvents[event]),
  });

  return [
    operation({
      method: 'get',
      path: '/.well-known/ssf-configuration',
      summary: 'Shared Signals transmitter metadata',
      tag: 'Event streams',
      access: 'none',
      responses: { 200: { description: 'Shared Signals transmitter metadata', schema: z.looseObject({}) } },
      errors: [],
      handle: async () => ({
        status: 200,
        headers: { 'Cache-Control': 'public, max-age=3600' },
        body: {
          spec_version: '1_0',
          issuer,
          jwks_uri: `${issuer}/.well-known/jwks.json`,
          delivery_methods_supported: [push, poll],
          configuration_endpoint: `${issuer}/v1/streams`,
          verification_endpoint: `${issuer}/v1/streams/verification`,
          authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6750' }],
          // Whoever looks at the `user` alone would end all that an agent does because one run is over.
          critical_subject_members: ['session'],
          default_subjects: 'ALL',
        },
      }),
    }),
    operation({
      method: 'get',
      path: '/v1/streams',
      summary: 'Read the configuration of one’s event stream',
      tag: 'Event streams',
      access: 'none',
      credentials: ['receiver'],
      headers: authorization,
      query: z.object({
        stream_id: z.string().optional().describe('With it the answer is an object, without it a list.'),
      }),
      responses: {
        200: { description: 'As an admin configured it', schema: z.union([configuration, z.array(configuration)]) },
      },
      errors: ['unauthenticated', 'not_found'],
      handle: async ({ header, query: { stream_id: id } }) => {
        const own = whose(header('authorization'));
        if (id === undefined) return { status: 200, body: [configurationOf(own)] };
        if (id !== own.name) throw new WritError('not_found');
        return { status: 200, body: configurationOf(own) };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/streams/verification',
      summary: 'Ask for a verification event',
      tag: 'Event streams',
      access: 'none',
      credentials: ['receiver'],
      headers: authorization,
      body: z.object({
        stream_id: z.string().max(100),
        state: z.string().max(1_000).optional().describe('Given back in the event.'),
      }),
      responses: { 204: { description: 'It will be told on the stream' } },
      errors: ['bad_request', 'unauthenticated', 'not_found', 'rate_limited', 'unavailable'],
      handle: async ({ header, body: { stream_id: id, state } }) => {
        const own = whose(header('authorization'));
        if (id !== own.name) throw new WritError('not_found');
        if (!(await askForVerification(store, own, state ?? null, clock.now())))
          throw new WritError('rate_limited', {
            detail: 'A verification event waits to be taken already.',
            retryAfterSeconds: 30,
          });
        deps.notify();
        return { status: 204 };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/streams/:stream/poll',
      summary: 'Take what waits for the receiver of a stream (RFC 8936)',
      tag: 'Event streams',
      access: 'none',
      credentials: ['receiver'],
      headers: authorization,
      params: z.object({ stream: z.string().max(100) }),
      body: z.object({
        maxEvents: z.int().min(0).optional(),
        returnImmediately: z
          .boolean()
          .default(false)
          .describe(`Without it, and while nothing waits, the answer comes after at most ${longPollSeconds} s.`),
        ack: z.array(z.string().max(256)).max(manyNames).default([]).describe('`jti` of those that were taken.'),
        setErrs: z
          .record(z.string().max(256), z.unknown())
          .default({})
          .describe('`jti` → what is wrong with it. It does not come again.'),
      }),
      responses: {
        200: {
          description: 'The next events; they come again until they are acknowledged',
          schema: z.object({
            sets: z.record(z.string(), z.string().describe('A Security Event Token (RFC 8417).')),
            moreAvailable: z.boolean(),
          }),
        },
      },
      errors: ['bad_request', 'unauthenticated', 'not_found', 'rate_limited', 'unavailable'],
      handle: async ({ header, params, body, signal }) => {
        const named = streams.find(({ name }) => name === params.stream);
        if (!isOf(header('authorization'), named) || named === undefined)
          throw new WritError('unauthenticated', { detail: 'It is not the token of this stream.' });
        if (named.push !== null) throw new WritError('not_found', { detail: 'The events of this stream are pushed.' });
        await acknowledge(deps, named, body, clock.now());
        const most = body.maxEvents ?? Number.POSITIVE_INFINITY;
        if (most > 0 && !body.returnImmediately) {
          const { poller, waiting } = deps;
          const wait = { poll: waiting, id: named.name, sessionId: named.name, seconds: longPollSeconds, signal };
          if ((await waiting([named.name])).length === 0) await poller.wait(wait);
        }
        return { status: 200, body: await nextSets(deps, named, clock.now(), most) };
      },
    }),
  ];
}
