/** Which rules stand against a request, as Cedar sees them: for tool calls and for capabilities alike. */
import type { Expr } from '@cedar-policy/cedar-wasm/nodejs';
import { contains, fact, literal, not } from './cedar-expressions.ts';
import type { CompiledRule } from './compile-calls.ts';

type StandingRule = CompiledRule & { effect: Exclude<CompiledRule['effect'], 'flag' | 'allow'> };

/** Whether a rule stands against what it is about. */
export const stands = (rule: CompiledRule): rule is StandingRule => rule.effect !== 'flag' && rule.effect !== 'allow';

/** Its conditions hold. */
export const hit = ({ id }: CompiledRule): Expr => contains(fact('hits'), literal(id));

/** Where a rule allows it, no rule has a person asked. */
export const unlessAllowed = (rules: readonly CompiledRule[]): Expr[] =>
  rules.filter(({ effect }) => effect === 'allow').map((rule) => not(hit(rule)));
