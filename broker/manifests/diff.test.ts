// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of manifests, not JavaScript’s
/** What changed, in words, and whether more passes by it: each section, each way. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { diffManifests, isWidening } from './diff.ts';
import { compileSource, exampleSource } from './example.test-support.ts';

const page = await readFile(join(import.meta.dirname, '../../docs/tool-calls.md'), 'utf8');
const tools = /```yaml\n(apiVersion[\s\S]*?)```/.exec(page)?.[1] ?? '';
const marks = { widens: '+', unknown: '?', narrows: '-', neither: '·' };

/** @param edits texts and what they are replaced by; each must be there */
function changes(source: string, ...edits: (readonly [string, string])[]): string[] {
  const after = edits.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), from);
    return text.replace(from, to);
  }, source);
  const found = diffManifests(compileSource(source).manifest, compileSource(after).manifest);
  return found.map(({ verdict, text }) => `${marks[verdict]} ${text}`);
}
type Row = readonly [from: string, to: string, ...expected: string[]];
const table = (source: string, rows: readonly Row[]) => {
  for (const [from, to, ...expected] of rows)
    test(`${from} → ${to || 'nothing'}`, () => assert.deepEqual(changes(source, [from, to]), expected));
};

describe('grants', () => {
  const files = ' (service "files", bucket "orders", prefix "customers/${inputs.customer_id}/", year "${inputs.year}")';
  table(exampleSource, [
    [
      '[read, list], default: read',
      '[read, list, write], default: read',
      `+ read-customer-files may now read, list, write; before: read, list${files}`,
    ],
    [
      '[read, list], default: read',
      '[read], default: read',
      `- read-customer-files may now read; before: read, list${files}`,
    ],
    ['[read, list], default: read', '[list, read], default: list'],
    ['limit: 100', 'limit: 200', `+ read-customer-files: limit may now be 200; before: 100${files}`],
    ['      limit: 100\n', '', `? read-customer-files: limit is not given any more; before: 100${files}`],
    [
      '"[a-z]{1,8}"',
      '"[a-z]{1,7}"',
      `? read-customer-files: label may now be matching [a-z]{1,7}; before: matching [a-z]{1,8}${files}`,
    ],
    [
      'pattern: "[a-z]{1,8}", default: none',
      'enum: [none, some], default: none',
      `- read-customer-files: label may now be one of "none", "some"; before: matching [a-z]{1,8}${files}`,
    ],
    ['min: 1, max: 4', 'min: 0, max: 4', `+ read-customer-files: parts may now be 0 to 4; before: 1 to 4${files}`],
    ['tier: 2', 'tier: 1', '+ close-account: approval by a person no longer needed'],
    [
      'tier: 2',
      'tier: 2\n    approval: { challenge: true }',
      '- whoever approves close-account must show having read it',
    ],
    [
      'tier: 2',
      'tier: 2\n    approval: { expires: 30m }',
      '? close-account waits for people 30m; before: as long as is set here',
    ],
    ['tier: 2', 'tier: 3', '- close-account: a person approves with a passkey now; before: a person approves'],
    [
      'tier: 2',
      'tier: 2\n    slack: decide',
      '+ close-account: may now be approved in Slack; before: on the page alone',
    ],
    ['tier: 2', 'tier: 2\n    slack: link'],
    [
      'tier: 2',
      'tier: 2\n    break_glass: true',
      '+ close-account: two people may break the glass for it now, past rules and approval',
    ],
    ['max_ttl: 1h', 'max_ttl: 2h', '+ a credential of close-account may now have 2h; before: 1h'],
    [
      'max_grants: 5\n',
      'max_grants: 4\n',
      '- read-customer-files in one session may now have 4 grants; before: 5 grants',
    ],
    [
      '    max_grants: 5\n',
      '',
      '+ read-customer-files in one session may now have without a bound of its own; before: 5 grants',
    ],
    [
      'tasks: [free-text-task, answer-invoice-question]',
      'tasks: [free-text-task]',
      '- read-anything may not be asked for in answer-invoice-question any more',
    ],
    [
      '    owner: team:storage\n',
      '',
      '+ read-customer-files: the agent’s owner alone may approve it; before: team:storage',
    ],
    [
      'owner: team:billing',
      'owner: team:sales',
      '+ team:sales answers for the agent and approves its requests; before: team:billing',
    ],
    ['tier: 2', 'tier: 2\n    approval: { quorum: 2 }', '- 2 people must approve close-account; before: one person'],
    [
      'tier: 2',
      'tier: 2\n    approval: { quorum: 2, from: [team:sre] }',
      '- 2 people must approve close-account; before: one person',
      '+ team:sre may now approve close-account',
      '- team:billing may not approve close-account any more',
    ],
    [
      'description: Answers',
      'approval: { from: [team:billing, team:sre] }\ndescription: Answers',
      '+ team:sre may now approve what it asks for',
    ],
    ['wall_time: 30m', 'wall_time: 1h', '+ a session may now have 1h; before: 30m'],
    ['wall_time: 90s', 'wall_time: 60s', '- a session for free-text-task may now have 1m; before: 90s'],
    [
      '"[0-9]{1,12}"',
      '"[0-9]{1,13}"',
      '? the input customer_id of answer-invoice-question may now be matching [0-9]{1,13}; before: matching [0-9]{1,12}',
    ],
    [
      'min: 2000, max: 2100',
      'min: 2000, max: 2050',
      '- the input year of answer-invoice-question may now be 2000 to 2050; before: 2000 to 2100',
    ],
    ['Answers questions about invoices.', 'Answers.', '· the description is another'],
    ['agent: invoice-bot', 'agent: other-bot', '? it is the manifest of other-bot; before: of invoice-bot'],
  ]);

  test('fewer people, or another group, is wider: of a capability and of a rule', () => {
    const said = exampleSource.replace('tier: 2', 'tier: 2\n    approval: { quorum: 3, from: [team:sre] }');
    assert.deepEqual(changes(said, ['quorum: 3', 'quorum: 2']), [
      '+ 2 people must approve close-account; before: 3 people',
    ]);
    assert.deepEqual(changes(said, ['\n    approval: { quorum: 3, from: [team:sre] }', '']), [
      '+ one person must approve close-account; before: 3 people',
      '+ team:billing may now approve close-account',
      '- team:sre may not approve close-account any more',
    ]);
    const asks = 'effect: approve, approval: { quorum: 2, from: [team:sre] }';
    const ruled = `${exampleSource}rules:\n  - { id: careful, on: { capability: close-account }, ${asks} }\n`;
    for (const fewer of ['quorum: 1, from: [team:sre]', 'quorum: 2, from: [team:sre, team:sales]', 'quorum: 2'])
      assert.deepEqual(changes(ruled, ['quorum: 2, from: [team:sre]', fewer]), [
        '+ rule careful changed: fewer people, or others, approve it now',
      ]);
    assert.deepEqual(changes(ruled, ['quorum: 2', 'quorum: 3']), [
      '- rule careful is stricter: asks a person (close-account)',
    ]);
  });

  test('what is new, and what is gone', () => {
    const capability = exampleSource.slice(exampleSource.indexOf('  close-account:'));
    assert.deepEqual(changes(exampleSource, [capability, '']), ['- may not ask for close-account any more']);
    const without = exampleSource.replace(capability, '');
    const found = diffManifests(compileSource(without).manifest, compileSource(exampleSource).manifest);
    assert.deepEqual(
      found.map(({ text }) => text),
      [
        'may now ask for close-account in answer-invoice-question, when a person approves: store, service "accounts", account "${inputs.customer_id}"',
      ],
    );
    assert.equal(isWidening(diffManifests(null, compileSource(exampleSource).manifest)), true);
    assert.deepEqual(diffManifests(compileSource(exampleSource).manifest, compileSource(exampleSource).manifest), []);
  });
});

describe('tools, classes, egress', () => {
  table(tools, [
    ['shell: { args', 'new_tool: {}\n  shell: { args', '+ may now call new_tool'],
    [
      'amount: { min: 1, max: 100 }',
      'amount: { min: 1, max: 1000 }',
      '+ amount of propose_refund may now be 1 to 1000; before: 1 to 100',
    ],
    [
      'amount: { min: 1, max: 100 }',
      'amount: { enum: [5, 10] }',
      '- amount of propose_refund may now be one of 5, 10; before: 1 to 100',
      '+ counts as said by the manifest now, wherever it comes from: 5, 10',
    ],
    [
      '{ customer_id: "${inputs.customer_id}" }',
      '{}',
      '+ customer_id of read_order was "${inputs.customer_id}"; now: any value',
    ],
    [
      'read_order:\n',
      'read_order:\n    no_other_args: true\n',
      '- read_order takes no arguments but those that are listed',
    ],
    [
      '    sensitivity: 2\n',
      '',
      '· read_order now returns what is of sensitivity 0; before: returns what is of sensitivity 2',
    ],
    [
      '    labels: [customer-data] # sticks to the session from the first call on\n',
      '',
      '· read_order does not label the session customer-data any more',
    ],
    [
      'search_web: { output: untrusted }',
      'search_web: { output: trusted }',
      '+ search_web now returns what is trusted as a destination',
    ],
    [
      'address_book: { output: trusted }',
      'address_book: { output: untrusted }',
      '- address_book now returns what is not trusted',
    ],
    ['destination: [to, cc]', 'destination: [to]', '? send_mail now sends to to; before: to, cc'],
    [
      'known: ["*@example.com"]',
      'known: ["*@example.com", "*.example.org"]',
      '+ *.example.org is now known: send_mail may now go to *.example.org',
      '+ counts as said by the manifest now, wherever it comes from: *.example.org',
    ],
    [
      'wall_time: 30m, max_calls: 200',
      'wall_time: 30m, max_calls: 100',
      '- a session may now have 100 calls; before: 200 calls',
    ],
    ['max_cost_usd: 0.50', 'max_cost_usd: 0.75', '+ a session may now have $0.75; before: $0.5'],
    [
      'agent: support-bot',
      'agent: support-bot\ncedar: |\n  forbid (principal, action, resource) when { context.sensitivity > 2 };',
      '- policies of the team’s own were added, which forbid',
    ],
    [
      'address_book: { output: trusted }',
      'address_book: { output: trusted, canary: true }',
      '- canary tool:address_book added: ends the session (address_book)',
    ],
  ]);
});

describe('rules', () => {
  table(tools, [
    [
      'effect: terminate',
      'effect: deny',
      '+ rule data-stays changed: it denies (send_mail); before, it ends the session (send_mail)',
    ],
    [
      'effect: terminate',
      'effect: suspend',
      '+ rule data-stays changed: it suspends the session (send_mail); before, it ends the session (send_mail)',
    ],
    [
      '    effect: deny\n  - id: after-sudo',
      '    effect: terminate\n  - id: after-sudo',
      '- rule injected-address is stricter: ends the session (send_mail)',
    ],
    [
      '    effect: deny\n  - id: after-sudo',
      '    effect: approve\n  - id: after-sudo',
      '+ rule injected-address changed: it asks a person (send_mail); before, it denies (send_mail)',
    ],
    [
      'untrusted: [destination]',
      'untrusted: [destination, subject]',
      '- rule injected-address is stricter: denies (send_mail)',
    ],
    [
      'within: session }, destination: unknown }',
      'within: session } }',
      '- rule data-stays is stricter: ends the session (send_mail)',
    ],
    [
      'within: 1h }',
      'within: 2h }',
      '? rule after-sudo changed: it is stricter, but begins with no memory of what was before: keep the old rule beside it for as long as that looks back',
    ],
    ['within: 1h }', 'within: 30m }', '? rule after-sudo changed: it holds under other conditions than before'],
    [
      'kind: [attempt], within: 1h } }',
      'kind: [attempt], within: 1h } }\n    unless: { destination: known }',
      '+ rule after-sudo changed: it has an exception now',
    ],
    [
      'message: What was read may go to the customer and to colleagues only.',
      'message: No.',
      '· rule data-stays is told in other words',
    ],
    [
      'egress: { tools: [send_mail] }',
      'egress: { tools: [send_mail, shell] }',
      '· the class egress now has shell: see the rules about it',
      '- rule data-stays is stricter: ends the session (send_mail, shell)',
      '- rule injected-address is stricter: denies (send_mail, shell)',
      '· rule new-place changed: only flags (send_mail, shell)',
    ],
    [
      'egress: { tools: [send_mail] }',
      'egress: { tools: [search_web] }',
      '· the class egress now has search_web, no longer has send_mail: see the rules about it',
      '+ rule data-stays changed: it is not about send_mail any more',
      '+ rule injected-address changed: it is not about send_mail any more',
      '· rule new-place changed: only flags (search_web)',
    ],
    [
      '  - id: new-place\n',
      '  - id: another\n',
      '· rule new-place removed: it only flagged',
      '· rule another added: only flags (send_mail)',
    ],
    [
      '    same: [entity]\n',
      '',
      '? duty refunds.1 changed: it holds under other conditions than before',
      '? duty refunds.2 changed: it holds under other conditions than before',
    ],
  ]);

  test('of a pack, its rules are told: more where it comes, fewer where it goes', () => {
    const packed = tools.replace('\nclasses:', '\npacks: [exfiltration]\nclasses:');
    assert.notEqual(packed, tools);
    const verdicts = (from: string, to: string) => {
      const found = diffManifests(compileSource(from).manifest, compileSource(to).manifest);
      assert.ok(
        found.length > 0 && found.every(({ path }) => /^(rules|separation_of_duties)\./.test(path)),
        JSON.stringify(found),
      );
      return new Set(found.map(({ verdict }) => verdict));
    };
    assert.deepEqual(
      [...verdicts(tools, packed)].filter((one) => one === 'widens' || one === 'unknown'),
      [],
    );
    assert.ok(verdicts(packed, tools).has('widens'));
  });

  test('one that is gone, and one that says the same under another name', () => {
    const rule = / {2}- id: injected-address[\s\S]*?effect: deny\n/.exec(tools)![0];
    assert.deepEqual(changes(tools, [rule, '']), ['+ rule injected-address removed: it denies (send_mail)']);
    assert.deepEqual(changes(tools, ['id: injected-address', 'id: renamed']), [
      '- rule injected-address removed; rule renamed stands against the same and more',
      '- rule renamed added: denies (send_mail)',
    ]);
  });

  test('a tool that is gone takes nothing from the rules that were about it', () => {
    assert.deepEqual(
      changes(
        tools,
        ['  send_mail: { destination: [to, cc] } # where data leaves\n', ''],
        ['egress: { tools: [send_mail] }', 'egress: { tools: [] }'],
      ),
      [
        '- may not call send_mail any more',
        '· the class egress no longer has send_mail: see the rules about it',
        '+ rule data-stays changed: it is not about send_mail any more',
        '· rule injected-address changed: nothing that it was about is left',
        '· rule new-place changed: only flags (nothing)',
      ],
    );
  });
});
