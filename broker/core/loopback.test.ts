import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isEveryAddress, isLoopback, isLoopbackHost } from './loopback.ts';

test('this machine is this machine, and nothing that only looks like it', () => {
  for (const host of ['localhost', '127.0.0.1', '127.8.9.10', '::1', '[::1]']) assert.ok(isLoopbackHost(host), host);
  for (const host of ['0.0.0.0', '::', '', '10.0.0.1', '127.0.0.1.example.com', 'localhost.example.com', '1127.0.0.1'])
    assert.ok(!isLoopbackHost(host), host);
  for (const url of ['http://127.1:80', 'http://[::1]:9/x', 'http://LOCALHOST']) assert.ok(isLoopback(url), url);
  for (const url of ['http://127.0.0.1@example.com', 'http://example.com/127.0.0.1', 'http://[::ffff:10.0.0.1]'])
    assert.ok(!isLoopback(url), url);
});

test('every address of this machine is that, however it is written', () => {
  for (const host of ['0.0.0.0', '0', '::', '[::]', '0:0:0:0:0:0:0:0', '::0', '::ffff:0.0.0.0'])
    assert.ok(isEveryAddress(host), host);
  for (const host of ['127.0.0.1', '::1', '[::1]', 'localhost', '10.0.0.0', 'a b', ''])
    assert.ok(!isEveryAddress(host), host);
});
