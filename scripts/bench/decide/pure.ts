/** The pure decision on a call: arguments → facts, history → hits, Cedar. No database, no HTTP. */
import { type Cell, cellKey } from '../../../broker/actions/cells.ts';
import { callFacts, evaluateCall } from '../../../broker/actions/evaluate-call.ts';
import { readManifest } from '../../../broker/manifests/read.ts';

/** Policies of one tool's set: as many as a tool with its bound arguments and rules has. */
const perTool = 20;
const now = new Date('2026-03-01T12:00:00Z');
const session = {
  agent: 'bench-bot',
  rootId: 'ses_bench',
  task: { task_type: 'work', inputs: {} },
  openedAt: now,
  rootOpenedAt: now,
  onBehalfOf: null,
  declaredOnBehalfOf: null,
  facts: { withheld: [] },
};

/**
 * @param policies in the manifest, over as many tools as they take
 * @param rules that look at every call of the tool
 * @returns microseconds
 */
export function pureDecision(policies: number, rules: number, calls: number): { p50: number; p99: number } {
  const tools = Array.from({ length: Math.max(1, Math.ceil(policies / perTool)) }, (_, n) => `tool_${n}`);
  const args = Array.from({ length: Math.min(perTool, policies) - 1 }, (_, n) => `a${n}`);
  const source = JSON.stringify({
    apiVersion: 'writ/v1',
    agent: session.agent,
    owner: 'team:bench',
    description: 'For the benchmark.',
    envelope: { wall_time: '1h' },
    task_types: { work: { description: 'Work.' } },
    capabilities: {},
    tools: Object.fromEntries(
      tools.map((name) => [
        name,
        { args: Object.fromEntries(args.map((arg) => [arg, { pattern: '[a-z]+', optional: true }])) },
      ]),
    ),
    // About other tools' past: of each, the state is looked at with every call of the first.
    rules: Array.from({ length: Math.min(rules, 100) }, (_, n) => ({
      id: `rule-${n}`,
      on: { tool: tools[0] },
      when: { formerly: { tool: tools.at(-1), match: { a0: `x${n}` }, within: '1h' } },
      effect: 'flag',
    })),
  });
  const read = readManifest(source, {});
  if (!read.ok) throw new Error(JSON.stringify(read.faults));
  const published = { agent: session.agent, version: 1, sha256: read.compiled.sha256, compiled: read.compiled };
  const asked = { tool: 'tool_0', args: { a0: 'abc' }, costMicroUsd: null };
  const cells = new Map<string, Cell>();
  const took: number[] = [];
  for (let n = 0; n < calls + 100; n += 1) {
    const began = performance.now();
    const facts = callFacts(read.compiled.manifest, session.task, asked);
    const { decision, writes } = evaluateCall(published, session, asked, facts, cells, now, (text) => text);
    if (n >= 100) took.push((performance.now() - began) * 1000);
    if (decision.effect !== 'allow') throw new Error(JSON.stringify(decision));
    for (const { state, version, ...ref } of writes) cells.set(cellKey(ref), { state, version: version + 1 });
  }
  took.sort((a, b) => a - b);
  const at = (share: number) => took[Math.floor(took.length * share)] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}
