/**
 * Google's real Cloud Storage client against the counterpart: what it checks of the answers, and what it is
 * refused.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { Storage, type StorageOptions } from '@google-cloud/storage';
import { OAuth2Client as OtherOAuth2Client } from 'google-auth-library';
import { manualClock } from '../../broker/core/clock.ts';
import { type GcpSandbox, startGcpSandbox } from './server.ts';

type StorageAuth = Extract<StorageOptions['authClient'], { setCredentials: unknown }>;
const { OAuth2Client } = createRequire(import.meta.resolve('@google-cloud/storage'))('google-auth-library') as {
  OAuth2Client: new () => StorageAuth;
};

const userAccount = 'user@demo-project.iam.gserviceaccount.com';
const creatorMember = 'user:creator@example.com';
const cloudPlatform = 'https://www.googleapis.com/auth/cloud-platform';
const checkValue = '123456789';

interface Harness {
  sandbox: GcpSandbox;
  clock: ReturnType<typeof manualClock>;
  /** Of USER, with this role on `orders` and only within `a/`. */
  tokenInA(role: string): Promise<string>;
  client(token: string, options?: StorageOptions): Storage;
}

function check(title: string, body: (harness: Harness) => Promise<void>) {
  test(title, async () => {
    const clock = manualClock(new Date('2036-01-01T00:00:00Z'));
    const sandbox = await startGcpSandbox({
      clock,
      issuers: {},
      serviceAccounts: [
        {
          email: userAccount,
          tokenCreators: [creatorMember],
          storage: [{ bucket: 'orders', role: 'roles/storage.objectUser' }],
        },
      ],
      buckets: { orders: { 'a/1.txt': 'one', 'a/check': checkValue, 'b/2.txt': 'two' }, payroll: { 'a/1.txt': 'x' } },
    });
    const tokenInA = async (role: string) => {
      const minted = await post(
        `${sandbox.url}/v1/projects/-/serviceAccounts/${userAccount}:generateAccessToken`,
        JSON.stringify({ scope: [cloudPlatform], lifetime: '900s' }),
        { authorization: `Bearer ${sandbox.tokenFor(creatorMember, [cloudPlatform])}` },
      );
      const expression =
        "resource.name.startsWith('projects/_/buckets/orders/objects/a/') || api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('a/')";
      const rule = {
        availableResource: '//storage.googleapis.com/projects/_/buckets/orders',
        availablePermissions: [`inRole:${role}`],
        availabilityCondition: { expression },
      };
      const cut = await post(
        `${sandbox.url}/v1/token`,
        new URLSearchParams({
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          subject_token: String(minted.accessToken),
          options: JSON.stringify({ accessBoundary: { accessBoundaryRules: [rule] } }),
        }),
      );
      return String(cut.access_token);
    };
    const client = (token: string, options: StorageOptions = {}) => {
      const authClient = new OAuth2Client();
      authClient.setCredentials({ access_token: token });
      return new Storage({
        apiEndpoint: sandbox.url,
        authClient,
        projectId: 'demo-project',
        useAuthWithCustomEndpoint: true,
        retryOptions: { autoRetry: false },
        ...options,
      });
    };
    try {
      await body({ sandbox, clock, tokenInA, client });
    } finally {
      await sandbox.close();
    }
  });
}

async function post(url: string, body: string | URLSearchParams, headers: { [name: string]: string } = {}) {
  const response = await fetch(url, { method: 'POST', body, headers });
  assert.equal(response.status, 200);
  return (await response.json()) as { [member: string]: unknown };
}

/** The provider's own answer, as the client hands it on. */
const refusedWith = (code: number, text: RegExp) => (error: { code?: number; message: string }) => {
  assert.equal(error.code, code);
  assert.match(error.message, text);
  return true;
};
const no = (permission: string) =>
  new RegExp(`${userAccount} does not have ${permission.replaceAll('.', '\\.')} access`);

check('a viewer downloads and lists inside the prefix, and nothing else', async ({ sandbox, tokenInA, client }) => {
  const storage = client(await tokenInA('roles/storage.objectViewer'));
  const orders = storage.bucket('orders');
  for (const validation of [undefined, 'crc32c', 'md5'] as const) {
    const [bytes] = await orders.file('a/1.txt').download(validation === undefined ? {} : { validation });
    assert.equal(bytes.toString(), 'one');
  }
  const [files] = await orders.getFiles({ prefix: 'a/' });
  assert.deepEqual(
    files.map((file) => file.name),
    ['a/1.txt', 'a/check'],
  );
  for (const read of [orders.file('b/2.txt'), storage.bucket('payroll').file('a/1.txt'), orders.file('b/none.txt')])
    await assert.rejects(read.download(), refusedWith(403, no('storage.objects.get')));
  await assert.rejects(orders.file('a/none.txt').download(), refusedWith(404, /No such object/));
  for (const query of [{}, { prefix: '' }, { prefix: 'a' }, { prefix: 'b/' }])
    await assert.rejects(orders.getFiles(query), refusedWith(403, no('storage.objects.list')));
  await assert.rejects(
    orders.file('a/new.txt').save('x', { resumable: false }),
    refusedWith(403, no('storage.objects.create')),
  );
  assert.equal(sandbox.object('orders', 'a/new.txt'), null);
  await assert.rejects(orders.file('a/1.txt').delete(), refusedWith(403, no('storage.objects.delete')));
});

check('a user writes inside the prefix, byte for byte, and nothing outside', async ({ sandbox, tokenInA, client }) => {
  const storage = client(await tokenInA('roles/storage.objectUser'));
  const orders = storage.bucket('orders');
  // Whatever looks like a part of the envelope is content; and the client compares the answer's checksum with
  // its own.
  const hard = Buffer.concat([Buffer.from([0, 255, 13, 10, 13, 10]), Buffer.from('\r\n--x--\r\n'), Buffer.from([200])]);
  for (const [name, content] of [
    ['a/deep/ä & b.bin', hard],
    ['a/empty', Buffer.alloc(0)],
  ] as const) {
    const file = orders.file(name);
    await file.save(content, { resumable: false, validation: 'crc32c', contentType: 'image/x-test' });
    assert.deepEqual((await file.download())[0], content);
    assert.equal((await file.getMetadata())[0].contentType, 'image/x-test');
  }
  await orders.file('a/1.txt').save('uno', { resumable: false });
  assert.equal(sandbox.object('orders', 'a/1.txt'), 'uno');

  for (const outside of [orders.file('b/2.txt'), orders.file('c.txt'), storage.bucket('payroll').file('a/1.txt')])
    await assert.rejects(
      outside.save('mine', { resumable: false }),
      refusedWith(403, no('storage.objects.create')),
      outside.name,
    );
  assert.equal(sandbox.object('orders', 'b/2.txt'), 'two');
  assert.equal(sandbox.object('orders', 'c.txt'), null);
  assert.equal(sandbox.object('payroll', 'a/1.txt'), 'x');
});

check(
  'a dead token is 401: unknown, run out, or its account disabled',
  async ({ sandbox, clock, tokenInA, client }) => {
    const attempts = (storage: Storage) => [
      () => storage.bucket('orders').file('a/1.txt').download(),
      () => storage.bucket('orders').getFiles({ prefix: 'a/' }),
      () => storage.bucket('orders').file('a/1.txt').save('x', { resumable: false }),
    ];
    const allDead = async (storage: Storage) => {
      for (const attempt of attempts(storage))
        await assert.rejects(attempt, refusedWith(401, /invalid authentication credentials/));
    };
    await allDead(client('ya29.unknown'));
    const storage = client(await tokenInA('roles/storage.objectUser'));
    await storage.bucket('orders').file('a/1.txt').download();
    sandbox.setDisabled(userAccount, true);
    await allDead(storage);
    sandbox.setDisabled(userAccount, false);
    await storage.bucket('orders').file('a/1.txt').download();
    clock.advance(900_000);
    await allDead(storage);
    assert.equal(sandbox.object('orders', 'a/1.txt'), 'one');
  },
);

check(
  'the client sends no token without useAuthWithCustomEndpoint, nor one of another google-auth-library',
  async (harness) => {
    const token = await harness.tokenInA('roles/storage.objectViewer');
    const other = new OtherOAuth2Client();
    other.setCredentials({ access_token: token });
    for (const options of [
      { useAuthWithCustomEndpoint: false },
      { authClient: other as unknown as StorageAuth },
    ] satisfies StorageOptions[])
      await assert.rejects(
        harness.client(token, options).bucket('orders').file('a/1.txt').download(),
        refusedWith(401, /invalid authentication credentials/),
      );
  },
);

check(
  'the checksums are the published ones, and the client really checks them',
  async ({ sandbox, tokenInA, client }) => {
    const token = await tokenInA('roles/storage.objectViewer');
    const answer = await fetch(`${sandbox.url}/storage/v1/b/orders/o/a%2Fcheck?alt=media`, {
      headers: { authorization: `Bearer ${token}` },
    });
    // The check value of CRC-32C is e3069283; RFC 1321 has none for these nine digits, `md5sum` says
    // 25f9e794323b453885f5181f1b624d0b.
    assert.equal(answer.headers.get('x-goog-hash'), 'crc32c=4waSgw==,md5=JfnnlDI7RTiF9RgfG2JNCw==');
    assert.equal(await answer.text(), checkValue);
    const suspicious = client(token, {
      crc32cGenerator: () => ({ update: () => {}, validate: () => false, toString: () => 'AAAAAA==' }),
    });
    await assert.rejects(suspicious.bucket('orders').file('a/check').download(), {
      code: 'CONTENT_DOWNLOAD_MISMATCH',
    });
  },
);

check('multipart uploads: one name counts, and what is malformed is 400', async ({ sandbox, tokenInA }) => {
  const authorization = `Bearer ${await tokenInA('roles/storage.objectUser')}`;
  const upload = async (query: string, body: string, contentType = 'multipart/related; boundary="b c"') => {
    const response = await fetch(`${sandbox.url}/upload/storage/v1/b/orders/o?uploadType=multipart${query}`, {
      method: 'POST',
      headers: { authorization, 'content-type': contentType },
      body,
    });
    await response.arrayBuffer();
    return response.status;
  };
  const parts = (resource: object, media = 'm', end = '\r\n--b c--') =>
    `--b c\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(resource)}\r\n--b c\r\n\r\n${media}${end}`;

  assert.equal(await upload('', parts({ name: 'a/from-resource' })), 200);
  assert.equal(sandbox.object('orders', 'a/from-resource'), 'm');
  assert.equal(await upload('', parts({ name: 'b/2.txt' })), 403, 'the name in the resource is held to the boundary');
  assert.equal(await upload('&name=a/q', parts({ name: 'b/2.txt' })), 200);
  assert.equal(sandbox.object('orders', 'a/q'), 'm');
  assert.equal(await upload('&name=b/2.txt', parts({ name: 'a/r' })), 403, 'the parameter goes first');
  assert.equal(sandbox.object('orders', 'b/2.txt'), 'two');
  assert.equal(sandbox.object('orders', 'a/r'), null);

  const good = parts({ name: 'a/bad' });
  for (const [what, status] of Object.entries({
    'no name': await upload('', parts({})),
    'a wrong checksum': await upload('', parts({ name: 'a/bad', md5Hash: 'AAAA' })),
    'a type that is no header': await upload('', parts({ name: 'a/bad', contentType: 'a\r\nx: y' })),
    'no end': await upload('', parts({ name: 'a/bad' }, 'm', '')),
    'three parts': await upload('', parts({ name: 'a/bad' }, 'm', '\r\n--b c\r\n\r\nn\r\n--b c--')),
    'one part': await upload('', '--b c\r\n\r\n{"name":"a/bad"}\r\n--b c--'),
    'no JSON': await upload('', good.replace('{', '')),
    'no boundary': await upload('', good, 'multipart/related'),
    'another type': await upload('', good, 'multipart/form-data; boundary="b c"'),
    'an empty body': await upload('', ''),
  }))
    assert.equal(status, 400, what);
  assert.equal(sandbox.object('orders', 'a/bad'), null);
});
