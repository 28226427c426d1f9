/** `writ manifest publish`, `rollback`, `approve` and `refuse`: what changes what is in force. */
import { hash } from 'node:crypto';
import { createInterface } from 'node:readline/promises';
import { diffManifests } from '../../broker/manifests/diff.ts';
import type { Manifest } from '../../broker/manifests/manifest.ts';
import { readManifest } from '../../broker/manifests/read.ts';
import { askAdmin, type Environment, findAsAdmin } from './admin.ts';
import { CommandError } from './broker-side.ts';
import {
  fetchVersion,
  printChanges,
  readVersion,
  summary,
  type Version,
  versionInForce,
  visible,
} from './manifest-diff.ts';
import { printFaults, shapes, textOf } from './manifest-files.ts';

export interface Publishing {
  reason: string | undefined;
  /** Do not ask whether it is meant. */
  yes: boolean;
}

interface Publication {
  version: number;
  outcome: 'published' | 'unchanged' | 'proposed';
  proposal?: string;
}

/**
 * Shows what a file changes, asks for a reason, and publishes it in place of the version that was shown.
 * @returns 0 when it is in force or waits for another admin; 1 when it has faults
 */
export async function publishFile(env: Environment, file: string, given: Publishing): Promise<number> {
  const source = await textOf(file);
  const read = readManifest(source, shapes);
  if (!read.ok) {
    printFaults(file, read.faults);
    return 1;
  }
  printFaults(file, read.warnings, '!');
  const { agent, manifest } = read.compiled;
  const current = await versionInForce(env, agent);
  showChanges(current, manifest);
  if (current?.source === source) {
    console.log(`✔ ${agent}: it is in force already, as version ${current.version}`);
    return 0;
  }
  const reason = await reasonFor(given);
  const body = { type: 'application/yaml', text: source };
  const path = `/v1/admin/manifests/${agent}?reason=${encodeURIComponent(reason)}`;
  return told(agent, (await askAdmin(env, 'PUT', path, body, replacing(agent, current))) as Publication);
}

/** Publishes the content of an older version as the next one. */
export async function rollBack(env: Environment, agent: string, version: string, given: Publishing): Promise<number> {
  if (!/^[1-9]\d{0,8}$/.test(version)) throw new CommandError(`${visible(version)} is not the number of a version`);
  const [older, current] = [await fetchVersion(env, agent, `version=${version}`), await versionInForce(env, agent)];
  showChanges(current, readVersion(older));
  const reason = await reasonFor(given);
  const body = { type: 'application/json', text: JSON.stringify({ version: Number(version), reason }) };
  const path = `/v1/admin/manifests/${agent}/rollback`;
  return told(agent, (await askAdmin(env, 'POST', path, body, replacing(agent, current))) as Publication);
}

interface Proposal {
  id: string;
  agent: string;
  author: string;
  reason: string;
  proposed_at: string;
  sha256: string;
  stale: boolean;
}

/** Lists what waits for another admin. */
export async function listProposals(env: Environment): Promise<number> {
  const { proposals } = (await askAdmin(env, 'GET', '/v1/admin/manifest-proposals')) as { proposals: Proposal[] };
  for (const { id, agent, author, reason, proposed_at, stale } of proposals)
    console.log(`${id}  ${agent}  ${proposed_at}  ${visible(author)}: ${visible(reason)}${stale ? '  (stale)' : ''}`);
  if (proposals.length === 0) console.log('· nothing waits');
  return 0;
}

/** Shows what a proposed version changes, and agrees to exactly the text that was compared. */
export async function approve(env: Environment, id: string, { yes }: Publishing): Promise<number> {
  const path = `/v1/admin/manifest-proposals/${encodeURIComponent(id)}`;
  const proposal = (await findAsAdmin(env, path)) as (Proposal & { source: string }) | null;
  if (proposal === null) throw new CommandError('the broker has no such proposal');
  const read = readManifest(proposal.source, shapes);
  if (!read.ok) {
    printFaults(id, read.faults);
    return 1;
  }
  printFaults(id, read.warnings, '!');
  console.log(`· ${visible(proposal.author)} proposes: ${visible(proposal.reason)}`);
  showChanges(await versionInForce(env, proposal.agent), read.compiled.manifest);
  if (!yes && !(await meant())) return 1;
  // Of the text that was compared here, and not of what the broker says that it is.
  const body = { type: 'application/json', text: JSON.stringify({ sha256: hash('sha256', proposal.source, 'hex') }) };
  return told(proposal.agent, (await askAdmin(env, 'POST', `${path}/agree`, body)) as Publication);
}

export async function refuse(env: Environment, id: string, given: Publishing): Promise<number> {
  const body = { type: 'application/json', text: JSON.stringify({ reason: await reasonFor(given) }) };
  await askAdmin(env, 'POST', `/v1/admin/manifest-proposals/${encodeURIComponent(id)}/refuse`, body);
  console.log(`✔ ${id} is refused`);
  return 0;
}

function showChanges(current: Version | null, after: Manifest): void {
  const changes = diffManifests(current === null ? null : readVersion(current), after);
  printChanges(changes);
  console.log(summary(changes, current === null ? 'nothing: the agent is new' : `version ${current.version}`));
}

const replacing = (agent: string, current: Version | null): { [name: string]: string } =>
  current === null ? { 'if-none-match': '*' } : { 'if-match': `"${agent}-${current.version}"` };

function told(agent: string, { version, outcome, proposal }: Publication): number {
  if (outcome === 'proposed') {
    console.log(`· ${agent}: it allows more, and waits for another admin: writ manifest approve ${proposal}`);
    return 0;
  }
  const how = outcome === 'unchanged' ? 'is in force already' : 'is in force';
  console.log(`✔ ${agent}: version ${version} ${how}`);
  return 0;
}

/** @throws CommandError where there is nobody to ask */
export async function reasonFor({ reason }: Pick<Publishing, 'reason'>): Promise<string> {
  const answer = reason ?? (await ask('Why? '));
  if (answer.trim() === '') throw new CommandError('a reason is needed: --reason TEXT');
  return answer.trim();
}

const meant = async (): Promise<boolean> => /^y(es)?$/i.test((await ask('Agree? [y/N] ')).trim());

async function ask(question: string): Promise<string> {
  if (!process.stdin.isTTY) throw new CommandError('nobody is at the terminal to answer: give --reason TEXT, or --yes');
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}
