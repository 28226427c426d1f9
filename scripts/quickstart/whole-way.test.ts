/**
 * The quickstart from beginning to end, as somebody sees it.
 *
 * @deep
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../broker/until.test-support.ts';
import { runQuickstart } from './run.test-support.ts';

test('undecided, it ends with words, ends the task, and shows that the credentials are dead', async () => {
  const run = await runQuickstart(['--wait', '5']);
  try {
    assert.equal(await run.exited, 0, run.said());
    const said = run.said();
    assert.match(said, /not approved, so not done: nobody decided in time/);
    for (const provider of ['aws', 'github', 'gcp'])
      assert.match(said, new RegExp(`✔ ${provider} lease \\S+: revoked`));
    assert.match(said, /✔ refused: AWS, reading → 403/);
    assert.match(said, /nobody let it go on: its session has ended/);
    assert.match(said, /✔ Every step held\. Nobody decided/);
    assert.doesNotMatch(said, /^ {4}at /m);
    assert.deepEqual(await run.left(), []);
  } finally {
    await run.remove();
  }
});

test('--slack: the card in the sandbox’s Slack is approved there, and the rest is as ever', async () => {
  const run = await runQuickstart(['--slack', '--yes']);
  try {
    assert.equal(await run.exited, 0, run.said());
    const said = run.said();
    assert.match(said, /· Slack http:\/\/\S+ {3}\(a workspace with one room, #approvals\)/);
    assert.match(said, /read the card in Slack and pressed “Approve exactly this”/);
    assert.doesNotMatch(said, /in Slack it failed/);
    assert.match(said, /✔ Every step held\./);
    assert.deepEqual(await run.left(), []);
  } finally {
    await run.remove();
  }
});

test('--keep: the printed commands work as they stand, and Ctrl-C leaves nothing behind', async () => {
  const run = await runQuickstart(['--yes', '--keep']);
  const terminals: ReturnType<typeof paste>[] = [];
  try {
    await run.hears('Ctrl-C stops everything.');
    const [agent, approver, admin, ...more] = run
      .said()
      .split('\n')
      .flatMap((line) => (line.startsWith('$ ') ? [line.slice(2)] : []));
    assert.equal(more.length, 0);
    const asking = paste(agent!);
    terminals.push(asking);
    await until('it waits for a person', () => asking.said().includes('waiting for an approver'));
    const approved = await paste(approver!).done;
    assert.match(approved, /^✔ approver@example\.com read .* and pressed “Approve exactly this” \(HTTP 200\)\n$/);
    assert.match(await asking.done, /✔ approved: .*\n✔ the task has ended: aws credential revoked\n$/);
    assert.match(await paste(admin!).done, /WRIT_MANIFEST_DIR/);
    run.kill('SIGINT');
    assert.equal(await run.exited, 130);
    assert.deepEqual(await run.left(), []);
  } finally {
    for (const { close } of terminals) close();
    await run.remove();
  }
});

/** As into a terminal, in the folder of the clone. */
function paste(line: string) {
  let said = '';
  const shell = spawn('sh', ['-c', line], { cwd: join(import.meta.dirname, '../..'), detached: true });
  for (const stream of [shell.stdout, shell.stderr])
    stream.on('data', (chunk) => {
      said += chunk;
    });
  const done = new Promise<string>((resolve) => shell.once('close', () => resolve(said)));
  return {
    said: () => said,
    done,
    close: () => {
      if (shell.exitCode === null) process.kill(-shell.pid!, 'SIGKILL');
    },
  };
}
