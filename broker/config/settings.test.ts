import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import type { ProviderModule } from '../../providers/contract.ts';
import { ConfigurationError, loadSettings } from './settings.ts';

const half: ProviderModule = {
  name: 'half',
  switchedOnBy: ['HALF_ID', 'HALF_KEY'],
  params: z.object({}),
  settings: z.object({ HALF_ID: z.string(), HALF_KEY: z.string() }),
  create: () => assert.fail('not created while settings are read'),
};

const faultsOf = (env: Record<string, string>) => {
  try {
    loadSettings(env, [half]);
  } catch (error) {
    assert.ok(error instanceof ConfigurationError);
    return error.faults;
  }
  return [];
};

test('nothing set is a working embedded broker without providers', () => {
  const settings = loadSettings({}, [half]);
  assert.equal(settings.WRIT_ROLE, 'all');
  assert.equal(settings.providers.size, 0);
  assert.ok(Object.isFrozen(settings));
});

test('a claim that nobody need have verified is no alias by another name', () => {
  const of = (WRIT_OIDC_ALIAS_CLAIMS: string) => faultsOf({ WRIT_OIDC_ALIAS_CLAIMS });
  assert.deepEqual(of('github_login, employee=employee_number'), []);
  for (const one of ['email', 'mail=email', 'github_login,mail= email'])
    assert.match(of(one).join(), /WRIT_OIDC_ALIAS_CLAIMS/, one);
});

test('every fault is reported at once, by the name of its variable', () => {
  const faults = faultsOf({
    PORT: 'eighty',
    DATABASE_URL: 'mysql://x',
    WRIT_ROLE: 'king',
    HALF_ID: '1',
    WRIT_HEARTBEAT_SECONDS: '0',
  });
  for (const name of ['PORT', 'DATABASE_URL', 'WRIT_ROLE', 'HALF_KEY', 'WRIT_HEARTBEAT_SECONDS']) {
    assert.ok(
      faults.some((fault) => fault.startsWith(`${name}:`)),
      `${name} in ${faults.join(' | ')}`,
    );
  }
});

test('a fault is told in our words, whatever checks it, with the near name', () => {
  assert.deepEqual(faultsOf({ PORT: '70000', WRIT_ROLE: 'apii', WRIT_OIDC_ISSUER: 'x', WRIT_OIDC_CLIENT_ID: 'c' }), [
    'PORT: must not be more than 65535',
    'WRIT_ROLE: must be one of all, api, worker; did you mean api?',
    'WRIT_OIDC_ISSUER: must be a well-formed url',
  ]);
});

test('a proxy that is not spoken to, and a network that is none, are faults without their values', () => {
  const faults = faultsOf({ HTTPS_PROXY: 'socks5://user:hunter2@proxy.test', NO_PROXY: 'example.com,10.0.0.0/33' });
  assert.deepEqual(faults, [
    'HTTPS_PROXY: must be the http or https URL of a proxy',
    'NO_PROXY: "10.0.0.0/33" is no network of addresses, like 10.0.0.0/8',
  ]);
  assert.deepEqual(faultsOf({ HTTPS_PROXY: 'http://user:pass@proxy.test:3128', NO_PROXY: '*' }), []);
  assert.deepEqual(faultsOf({ HTTPS_PROXY: 'proxy.test:3128', NO_PROXY: '10.0.0.0/8,fd00::/8' }), []);
});

test('a half-configured provider names the missing variable; an untouched one is off', () => {
  assert.deepEqual(faultsOf({ HALF_KEY: 'k' }), ['HALF_ID: is missing']);
  assert.deepEqual(faultsOf({ HALF_KEY: '' }), []);
});

test('a server database needs a key from outside, an issuer, and https off loopback', () => {
  const faults = faultsOf({ DATABASE_URL: 'postgres://x/y' });
  assert.ok(faults.some((f) => f.startsWith('WRIT_KEY_ENCRYPTION_KEY')));
  assert.ok(faults.some((f) => f.startsWith('WRIT_ISSUER_URL')));
  assert.deepEqual(faultsOf({ WRIT_ISSUER_URL: 'http://writ.example.com' }), [
    'WRIT_ISSUER_URL: must be https (plain http is for loopback only)',
  ]);
  assert.deepEqual(faultsOf({ WRIT_ISSUER_URL: 'http://127.0.0.1:8420' }), []);
});

test('rotas are read from a file, or over https without a password', () => {
  const url = 'https://rota.example/now';
  assert.deepEqual(faultsOf({ WRIT_ONCALL_URL: url }), []);
  assert.match(String(faultsOf({ WRIT_ONCALL_URL: 'http://rota.example' })), /https/);
  assert.match(String(faultsOf({ WRIT_ONCALL_URL: 'https://a:b@rota.example' })), /password/);
  assert.match(String(faultsOf({ WRIT_ONCALL_URL: url, WRIT_ONCALL_FILE: 'rota.yaml' })), /not both/);
});

test('whoever listens beyond loopback says under which name', () => {
  for (const listen of ['0.0.0.0', '::', '10.0.0.7', 'writ.internal']) {
    assert.deepEqual(
      faultsOf({ WRIT_LISTEN: listen }).map((fault) => fault.split(':')[0]),
      ['WRIT_ISSUER_URL'],
      listen,
    );
    assert.deepEqual(faultsOf({ WRIT_LISTEN: listen, WRIT_ISSUER_URL: 'https://writ.example.com' }), []);
  }
  for (const listen of ['127.0.0.1', '::1', 'localhost', '']) assert.deepEqual(faultsOf({ WRIT_LISTEN: listen }), []);
});

test('the issuer is an origin: under a path, links, cookies and discovery would be somebody else’s', () => {
  for (const url of [
    'https://writ.example.com/',
    'https://writ.example.com/broker',
    'https://writ.example.com?x',
    'https://writ.example.com#x',
    'https://user:secret@writ.example.com',
    'https://Writ.example.com',
    'https://writ.example.com:443',
  ]) {
    const faults = faultsOf({ WRIT_ISSUER_URL: url });
    assert.deepEqual(
      faults.map((fault) => fault.split(':')[0]),
      ['WRIT_ISSUER_URL'],
      url,
    );
    assert.ok(!faults[0]!.includes('secret'));
  }
  assert.deepEqual(faultsOf({ WRIT_ISSUER_URL: 'https://writ.example.com:8443' }), []);
});

test('people sign in over plain http only at a broker that is itself on this machine', () => {
  const login = { WRIT_OIDC_ISSUER: 'http://127.0.0.1:9', WRIT_OIDC_CLIENT_ID: 'writ' };
  assert.deepEqual(faultsOf(login), []);
  assert.deepEqual(faultsOf({ ...login, WRIT_ISSUER_URL: 'http://localhost:8420' }), []);
  assert.deepEqual(
    faultsOf({ ...login, WRIT_ISSUER_URL: 'https://writ.example.com' }).map((fault) => fault.split(':')[0]),
    ['WRIT_OIDC_ISSUER'],
  );
});

test('signals need an issuer and a way in; half of one is told by its name', () => {
  const issuer = { WRIT_SIGNALS_ISSUER: 'https://idp.example' };
  const push = { WRIT_SIGNALS_PUSH_TOKEN: 'a-long-enough-push-token' };
  assert.deepEqual(faultsOf({ ...issuer, ...push }), []);
  for (const [env, fault] of [
    [push, /WRIT_SIGNALS_ISSUER: is missing/],
    [issuer, /WRIT_SIGNALS_PUSH_TOKEN: is missing/],
    [{ ...issuer, WRIT_SIGNALS_PUSH_TOKEN: 'short' }, /WRIT_SIGNALS_PUSH_TOKEN/],
    [{ ...issuer, WRIT_SIGNALS_POLL_URL: 'https://idp.example/poll' }, /WRIT_SIGNALS_POLL_TOKEN/],
    [{ ...issuer, ...push, WRIT_SIGNALS_OPAQUE_KIND: 'email' }, /WRIT_SIGNALS_OPAQUE_KIND/],
    [{ ...issuer, ...push, WRIT_SIGNALS_OPAQUE_KIND: 'subject' }, /WRIT_OIDC_ISSUER/],
    [{ ...push, WRIT_SIGNALS_ISSUER: 'http://idp.example' }, /WRIT_SIGNALS_ISSUER: must be https/],
  ] as [Record<string, string>, RegExp][]) {
    const faults = faultsOf(env);
    assert.equal(faults.length, 1, JSON.stringify(env));
    assert.match(faults[0] ?? '', fault);
  }
});

test('each event stream has variables of its own; what is missing or nobody’s is told by its name', () => {
  const [to, own] = ['https://siem.example/events', 'siem-asks-with-this'];
  const given = {
    WRIT_STREAMS: 'siem, desk',
    WRIT_STREAM_SIEM_AUDIENCE: 'siem',
    WRIT_STREAM_SIEM_PUSH_URL: to,
    WRIT_STREAM_SIEM_PUSH_TOKEN: 'x',
    WRIT_STREAM_DESK_AUDIENCE: 'desk',
    WRIT_STREAM_DESK_TOKEN: own,
    WRIT_STREAM_DESK_ALGORITHM: 'ES256',
    WRIT_STREAM_DESK_EVENTS: 'account-disabled, account-disabled',
  };
  const all = ['session-revoked', 'risk-level-change', 'account-disabled', 'account-enabled'];
  assert.deepEqual(loadSettings(given, []).streams, [
    {
      name: 'siem',
      audience: 'siem',
      events: all,
      algorithm: 'RS256',
      push: { url: to, token: 'x', anywhere: false },
      token: null,
    },
    { name: 'desk', audience: 'desk', events: ['account-disabled'], algorithm: 'ES256', push: null, token: own },
  ]);
  for (const [changes, fault] of [
    [{ WRIT_STREAM_SIEM_AUDIENCE: '' }, /^WRIT_STREAM_SIEM_AUDIENCE: is missing$/],
    [{ WRIT_STREAM_SIEM_PUSH_URL: 'http://siem.example' }, /^WRIT_STREAM_SIEM_PUSH_URL: must be https/],
    [{ WRIT_STREAM_SIEM_PUSH_URL: 'https://a:hush@siem.example' }, /^WRIT_STREAM_SIEM_PUSH_URL: must hold no user/],
    [{ WRIT_STREAM_SIEM_PUSH_TOKEN: 'a\r\nb: c' }, /^WRIT_STREAM_SIEM_PUSH_TOKEN: must be visible ASCII/],
    [{ WRIT_STREAM_DESK_TOKEN: '' }, /^WRIT_STREAM_DESK_PUSH_URL: is missing, and so is WRIT_STREAM_DESK_TOKEN/],
    [{ WRIT_STREAM_DESK_TOKEN: 'hush' }, /^WRIT_STREAM_DESK_TOKEN: must have at least 16/],
    [{ WRIT_STREAM_SIEM_TOKEN: own }, /^WRIT_STREAMS: two streams have the same token$/],
    [{ WRIT_STREAM_DESK_PUSH_TOKEN: 'hush' }, /^WRIT_STREAM_DESK_PUSH_URL: is missing, without which/],
    [{ WRIT_STREAM_DESK_EVENTS: 'all' }, /^WRIT_STREAM_DESK_EVENTS: each must be one of/],
    [{ WRIT_STREAM_SEIM_TOKEN: own }, /^WRIT_STREAM_SEIM_TOKEN: is of no stream/],
    [{ WRIT_STREAM_SIEM_TOKENS: own }, /^WRIT_STREAM_SIEM_TOKENS: is of no stream/],
    [{ WRIT_STREAMS: 'siem,desk,siem' }, /^WRIT_STREAMS: must name each stream once$/],
    [{ WRIT_STREAMS: 'Siem,desk' }, /^WRIT_STREAMS: must be names/],
    [
      { WRIT_ISSUER_URL: 'https://writ.example', WRIT_STREAM_DESK_AUDIENCE: 'https://writ.example' },
      /^WRIT_STREAM_DESK_AUDIENCE: must not be the broker/,
    ],
  ] as const) {
    const faults = faultsOf({ ...given, ...changes });
    assert.equal(faults.length, 1, faults.join(' | '));
    assert.match(faults[0]!, fault);
    assert.ok(!faults[0]!.includes('hush'));
  }
});

test('a secret in a malformed variable is not repeated in the message', () => {
  const faults = faultsOf({ WRIT_KEY_ENCRYPTION_KEY: 'super-secret-value' });
  assert.equal(faults.length, 1);
  assert.ok(!faults[0]!.includes('super-secret-value'));
});

test('a channel is read as a provider is, and all faults are told together', () => {
  const { params: _params, create: _create, ...shape } = half;
  const always = { name: 'always', switchedOnBy: 'always', settings: z.object({ ALWAYS_URL: z.url() }) } as const;
  const settings = loadSettings({ ALWAYS_URL: 'https://a.example' }, [half], [shape, always]);
  assert.deepEqual([...settings.channels], [['always', { ALWAYS_URL: 'https://a.example' }]]);
  assert.throws(
    () => loadSettings({ PORT: 'eighty', HALF_ID: '1' }, [half], [always]),
    (error) =>
      error instanceof ConfigurationError &&
      ['PORT', 'HALF_KEY', 'ALWAYS_URL'].every((name) => error.faults.some((fault) => fault.startsWith(`${name}:`))),
  );
});

test('a schema in the URL is the schema; two that differ are refused', () => {
  const env = (more: Record<string, string>) => ({
    WRIT_KEY_ENCRYPTION_KEY: 'a'.repeat(43),
    WRIT_ISSUER_URL: 'https://writ.example',
    ...more,
  });
  const url = (schema: string) => `postgres://db/writ?schema=${schema}`;
  const schemaOf = (more: Record<string, string>) => loadSettings(env(more), [half]).WRIT_DATABASE_SCHEMA;
  assert.equal(schemaOf({ DATABASE_URL: url('ours') }), 'ours');
  assert.equal(schemaOf({ DATABASE_URL: url('ours'), WRIT_DATABASE_SCHEMA: 'ours' }), 'ours');
  assert.equal(schemaOf({ DATABASE_URL: 'postgres://db/writ', WRIT_DATABASE_SCHEMA: 'ours' }), 'ours');
  assert.match(faultsOf(env({ DATABASE_URL: url('ours'), WRIT_DATABASE_SCHEMA: 'other' })).join(), /\?schema=ours/);
  assert.match(faultsOf(env({ DATABASE_URL: url('Ours%22') })).join(), /DATABASE_URL: \?schema=/);
});
