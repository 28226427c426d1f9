/** The load generator: clients that each keep one connection and send one request after another. */
import { Agent, request } from 'node:http';
import { answerParent } from './child.ts';

export interface LoadRequest {
  path: string;
  headers: Record<string, string>;
  body: string;
  /** How often it is sent, by one client, one after another. */
  times: number;
}

export interface Load {
  /** Clients are dealt out to the servers in turn. */
  urls: string[];
  clients: number;
  /** Ends sooner when `requests` are used up. */
  seconds: number;
  requests: LoadRequest[];
  status: number;
  /** Give the answers back. */
  keep: boolean;
}

export interface LoadResult {
  count: number;
  seconds: number;
  /** Of each request, in milliseconds. */
  latencies: number[];
  bodies: string[];
}

async function drive(load: Load): Promise<LoadResult> {
  const { requests } = load;
  const latencies: number[] = [];
  const bodies: string[] = [];
  let next = 0;
  const start = performance.now();
  const end = start + load.seconds * 1000;
  const client = async (n: number) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const url = load.urls[n % load.urls.length]!;
    try {
      for (;;) {
        const mine = requests[next++];
        if (mine === undefined) return;
        for (let i = 0; i < mine.times; i += 1) {
          const sent = performance.now();
          if (sent >= end) return;
          const answer = await send(agent, url, mine, load.keep);
          if (answer.status !== load.status) throw new Error(`${mine.path} answered ${answer.status}: ${answer.body}`);
          latencies.push(performance.now() - sent);
          if (load.keep) bodies.push(answer.body);
        }
      }
    } finally {
      agent.destroy();
    }
  };
  await Promise.all(Array.from({ length: load.clients }, (_, n) => client(n)));
  return { count: latencies.length, seconds: (performance.now() - start) / 1000, latencies, bodies };
}

function send(agent: Agent, url: string, one: LoadRequest, keep: boolean): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = { ...one.headers, 'content-length': Buffer.byteLength(one.body) };
    const sent = request(`${url}${one.path}`, { method: 'POST', agent, headers }, (res) => {
      const chunks: Buffer[] = [];
      const status = res.statusCode ?? 0;
      const read = keep || status >= 400;
      res.on('data', (chunk: Buffer) => {
        if (read) chunks.push(chunk);
      });
      res.once('end', () => resolve({ status, body: Buffer.concat(chunks).toString() }));
      res.once('error', reject);
    });
    sent.once('error', reject);
    sent.end(one.body);
  });
}

answerParent(async () => ({ drive, stop: () => {} }));
