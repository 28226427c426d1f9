import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { assertDescribed } from './described-answers.test-support.ts';
import { recordAnswers } from './recorded-answers.test-support.ts';

const ports = new Set<number>();
const { answers, stop } = recordAnswers(ports);
const server = createServer((request, response) => {
  response.setHeader('content-type', 'application/json; charset=utf-8');
  if (request.url === '/v1/session/end') response.write('{"session":');
  response.end(Buffer.from('{}'));
});
let url: string;
before(async () => {
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  ports.add(port);
  url = `http://127.0.0.1:${port}`;
});
after(async () => {
  stop();
  await new Promise((closed) => server.close(closed));
});

const sent = async (method: string, path: string) => {
  const before = answers.length;
  await (await fetch(url + path, { method })).text();
  return answers.slice(before);
};

test('an answer is recorded as it was sent, in pieces or at once', async () => {
  assert.deepEqual(await sent('GET', '/v1/session?x=1'), [
    { method: 'GET', path: '/v1/session?x=1', status: 200, type: 'application/json; charset=utf-8', text: '{}' },
  ]);
  assert.equal((await sent('POST', '/v1/session/end'))[0]?.text, '{"session":{}');
});

test('what the document does not describe is told by its path', () => {
  assert.throws(() => assertDescribed(answers.slice(0, 1)), /GET \/v1\/session: 200: must have required property/);
});

test('nothing of other servers, and nothing after the end', async () => {
  ports.clear();
  assert.deepEqual(await sent('GET', '/v1/session'), []);
});
