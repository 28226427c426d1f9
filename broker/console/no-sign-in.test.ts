import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prepareGround } from '../running.test-support.ts';

test('without sign-in configured, / says what to set, and so does where pages send people who are not signed in', async () => {
  const ground = await prepareGround();
  const broker = await ground.start();
  try {
    for (const path of ['/', '/login', '/approvals']) {
      const answer = await fetch(`${broker.url}${path}`, { headers: { accept: 'text/html' } });
      assert.equal(answer.status, 200, path);
      assert.match(answer.headers.get('content-security-policy') ?? '', /default-src 'none'/);
      const html = await answer.text();
      assert.match(html, /Sign-in is not set up/);
      assert.match(html, /<code>WRIT_OIDC_ISSUER<\/code>/);
      assert.ok(html.includes(`<code>${broker.url}/login/callback</code>`));
    }
  } finally {
    await broker.stop();
    await ground.close();
  }
});
