/**
 * Whether what a plan may do at most has something in common with what is asked for: with marks in it that
 * stand for values which nobody chose yet, or without any. Pure.
 */
import type { Provider, Reach } from '../../providers/contract.ts';
import { asHole, caseless, common, type Language, sequence, wildcards } from './pattern-language.ts';
import { neverInValues, type Open, shapeLanguage } from './possible-values.ts';

/** What is asked for and what may be done have in common: the values in it; `none` where there is nothing. */
export function meeting(
  { actions, resources }: Reach,
  marked: ReadonlyMap<string, string>,
  free: readonly Open[],
  question: { action: string; resource: string },
  ignores: Provider['caselessReach'],
): Map<string, string> | 'none' | 'too_large' {
  const caseOf = (language: Language, what: 'actions' | 'all') =>
    ignores === 'all' || ignores === what ? caseless(language) : language;
  const languages = new Map(free.map(({ name, shape }) => [name, asHole(shapeLanguage(shape), name, neverInValues)]));
  try {
    for (const action of actions) {
      const asked = caseOf(wildcards(question.action), 'actions');
      const first = common(caseOf(template(action, marked, languages), 'actions'), asked);
      if (first === null) continue;
      for (const resource of resources) {
        const second = common(
          caseOf(template(resource, marked, languages), 'all'),
          caseOf(wildcards(question.resource), 'all'),
        );
        if (second !== null) return new Map([...first.holes, ...second.holes]);
      }
    }
  } catch (error) {
    if (error instanceof RangeError) return 'too_large';
    throw error;
  }
  return 'none';
}

/** A pattern in which marks stand for all the values that may be there. */
function template(
  pattern: string,
  marked: ReadonlyMap<string, string>,
  languages: ReadonlyMap<string, Language>,
): Language {
  const found = [...marked]
    .map(([name, mark]) => ({ name, mark, at: pattern.indexOf(mark) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)[0];
  if (found === undefined) return wildcards(pattern);
  const rest = pattern.slice(found.at + found.mark.length);
  return sequence([
    wildcards(pattern.slice(0, found.at)),
    languages.get(found.name)!,
    template(rest, marked, languages),
  ]);
}

export function reaches(
  real: Reach,
  question: { action: string; resource: string },
  ignores: Provider['caselessReach'],
): boolean {
  return meeting(real, new Map(), [], question, ignores) instanceof Map;
}
