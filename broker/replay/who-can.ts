/**
 * Which sessions could ever do something, over manifests: every capability with every value that its
 * parameters may have. By enumeration where values are listed, by comparing patterns where they are not.
 * Pure.
 *
 * "No" is said where no value can come to it; "yes" with a session that the real evaluation lets through, on
 * a history without anything in it; what is neither is said to be so, and why. What a rule lets pass only
 * after something else was done, or what the target itself forbids, is beyond it.
 */
import type { PublishedManifest } from '../manifests/publish.ts';
import type { Finding, Question, WhoCanDeps } from './finding.ts';
import { callFinding } from './who-can-call.ts';
import { grantFinding } from './who-can-grant.ts';

export function whoCan(deps: WhoCanDeps, published: PublishedManifest, question: Question): Finding[] {
  const { manifest } = published.compiled;
  if ('provider' in question)
    return Object.entries(manifest.capabilities)
      .filter(([, { provider }]) => provider === question.provider)
      .flatMap(([name, capability]) =>
        capability.tasks.map((task) => grantFinding(deps, published, name, capability, task, question)),
      );
  const tools = Object.entries(manifest.tools ?? {});
  return tools
    .filter(([name]) => !('tool' in question) || name === question.tool)
    .flatMap(([name, tool]) => {
      const tasks = tool.tasks ?? Object.keys(manifest.task_types);
      return tasks.map((task) =>
        callFinding(deps, published, name, tool, task, 'host' in question ? question.host : null),
      );
    });
}
