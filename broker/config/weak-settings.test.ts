import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadSettings } from './settings.ts';
import { type InUse, weakSettings } from './weak-settings.ts';

const strong: InUse = {
  settings: loadSettings({ WRIT_REQUIRE_DPOP: '1', WRIT_METRICS_TOKEN: 'a-scraper-is-let-in' }, []),
  url: 'https://writ.example',
  embedded: false,
  keyFileMode: null,
  trustFileMode: null,
  bootstrapTokenOpens: false,
  withoutStarter: [],
};
const having = (env: { [name: string]: string }) => ({
  settings: loadSettings(
    {
      WRIT_REQUIRE_DPOP: '1',
      WRIT_METRICS_TOKEN: 'a-scraper-is-let-in',
      WRIT_ISSUER_URL: 'https://writ.example',
      ...env,
    },
    [],
  ),
});

const at = (url: string) =>
  having({ DATABASE_URL: url, WRIT_KEY_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64') });

test('each weak setting in use is named, and nothing else', () => {
  assert.deepEqual(weakSettings(strong), []);
  const cases: [name: string | null, use: Partial<InUse>][] = [
    ['bearer_sessions', having({ WRIT_REQUIRE_DPOP: '0' })],
    ['embedded_store_in_public', { embedded: true }],
    [null, { embedded: true, url: 'http://127.0.0.1:8420' }],
    ['plain_http', { url: 'http://writ.example' }],
    ['plain_http', { ...having({ WRIT_LISTEN: '0.0.0.0' }), url: 'http://127.0.0.1:8420' }],
    ['key_file_readable', { keyFileMode: 0o100640 }],
    ['key_file_readable', { keyFileMode: 0o100604 }],
    [null, { keyFileMode: 0o100600, trustFileMode: 0o100644 }],
    ['trust_file_writable', { trustFileMode: 0o100664 }],
    ['key_file_readable', { files: [{ variable: 'GITHUB_APP_PRIVATE_KEY_FILE', mode: 0o100644, holds: 'secret' }] }],
    [null, { files: [{ variable: 'WRIT_OIDC_CLIENT_KEY_FILE', mode: 0o100600, holds: 'secret' }] }],
    ['rules_writable', { files: [{ variable: 'WRIT_MANIFEST_DIR', mode: 0o040775, holds: 'rules' }] }],
    [null, { files: [{ variable: 'WRIT_ONCALL_FILE', mode: 0o100644, holds: 'rules' }] }],
    ['proxies_trusted_from_anywhere', having({ WRIT_TRUST_PROXY: '1', WRIT_LISTEN: '0.0.0.0' })],
    ['proxies_trusted_from_anywhere', having({ WRIT_TRUST_PROXY: '1', WRIT_LISTEN: '[::]' })],
    [null, having({ WRIT_TRUST_PROXY: '1' })],
    ['bootstrap_token', { bootstrapTokenOpens: true }],
    ['metrics_for_anybody', having({ WRIT_METRICS_TOKEN: '', WRIT_LISTEN: '0.0.0.0' })],
    ['no_rate_limit', having({ WRIT_REFUSALS_PER_MINUTE: '0' })],
    ['no_rate_limit', having({ WRIT_APPROVAL_REQUESTS_PER_HOUR: '0' })],
    ['no_checkpoints', having({ WRIT_CHECKPOINTS: 'off' })],
    ['no_checkpoints', having({ WRIT_LOG_LEVEL: 'silent' })],
    [null, having({ WRIT_LOG_LEVEL: 'silent', WRIT_CHECKPOINTS: 'log,/var/lib/writ/checkpoints' })],
    ['database_in_plain', at('postgres://writ@db.example.com/writ')],
    ['database_in_plain', at('postgres://writ@db.example.com/writ?sslmode=disable')],
    [null, at('postgres://writ@db.example.com/writ?sslmode=verify-full')],
    [null, at('postgres://writ@db.example.com/writ?ssl=true')],
    [null, at('postgres://writ@[::1]:5432/writ')],
    [null, at('postgres:///writ?host=/var/run/postgresql')],
    ['database_role', { powerfulRole: 'the database role postgres is a superuser' }],
    ['nobody_started_it', { withoutStarter: ['client batch'] }],
  ];
  for (const [name, use] of cases) {
    const found = weakSettings({ ...strong, ...use });
    assert.deepEqual(
      found.map((one) => one.name),
      name === null ? [] : [name],
      JSON.stringify(use),
    );
    for (const { text } of found) assert.ok(text.length > 20);
  }
});
