/** `docs/reference/facts.md`: what policies may look at. */
import type { FactEntry, factEntries } from '../../broker/manifests/facts-table.ts';
import { code, generatedFrom, page, prose, table } from './markdown.ts';

const sources: { [from in FactEntry['from']]: string } = {
  manifest: 'the manifest in force',
  principal: 'who opened the session',
  task: 'the session’s task',
  request: 'the request',
  plan: 'the plan made from the request',
  clock: 'the clock',
  approval: 'the approvals on record',
  rules: 'the manifest’s rules, over the history of the session, the agent, the person or the owner',
  session: 'the session, read with every request',
  history: 'the grants of the session’s tree, counted with every request',
};

export function factsPage(entries: typeof factEntries): string {
  return page(
    generatedFrom('broker/manifests/facts-table.ts'),
    '# Facts',
    'All that a policy may look at, by its name in Cedar’s `context`. Text that an agent wrote is not among them. A fact that is not of its type denies the request, and so does a policy that reads an optional fact where it is absent: such a policy must ask `has` first.',
    table(
      ['Fact', 'Cedar type', 'Where it comes from', 'Meaning'],
      entries.map(({ name, fact }) => [
        code(`context.${name}`),
        `${code(fact.type)}${fact.optional === true ? ', optional' : ''}`,
        sources[fact.from],
        prose(fact.meaning),
      ]),
    ),
  );
}
