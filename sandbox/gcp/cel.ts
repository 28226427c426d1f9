/**
 * The small part of CEL that Credential Access Boundaries on Cloud Storage really use: `||`, `&&`,
 * parentheses, `true`, `false`, `resource.name.startsWith(…)`, `resource.name == …` and
 * `api.getAttribute(…, …).startsWith(…)`. Everything else is refused when the boundary is set, as a real
 * expression error is. A real parser and not a pattern, so that an expression that was broken out of means
 * here what it would mean at Google.
 */

export interface CelFacts {
  resourceName: string;
  attributes: { [name: string]: string };
}

export type CelCondition = (facts: CelFacts) => boolean;

type Token = { kind: 'string'; value: string } | { kind: 'symbol'; value: string };

/** Compiles an expression. Throws an Error that says where it is not understood. */
export function compileCel(source: string): CelCondition {
  const tokens = tokenize(source);
  let position = 0;
  const peek = () => tokens[position];
  const isSymbol = (value: string) => peek()?.kind === 'symbol' && peek()?.value === value;
  const accept = (value: string) => {
    if (!isSymbol(value)) return false;
    position += 1;
    return true;
  };
  const expect = (value: string) => {
    if (!accept(value)) throw new Error(`expected ${value} at token ${position}`);
  };
  const text = (): string => {
    const token = peek();
    if (token?.kind !== 'string') throw new Error(`expected a string at token ${position}`);
    position += 1;
    return token.value;
  };
  const path = (...symbols: string[]) => {
    for (const symbol of symbols) expect(symbol);
  };
  const startsWith = (subject: (facts: CelFacts) => string): CelCondition => {
    path('.', 'startsWith', '(');
    const prefix = text();
    expect(')');
    return (facts) => subject(facts).startsWith(prefix);
  };
  const term = (): CelCondition => {
    if (accept('(')) {
      const inner = either();
      expect(')');
      return inner;
    }
    if (accept('true')) return () => true;
    if (accept('false')) return () => false;
    if (accept('resource')) {
      path('.', 'name');
      if (accept('==')) {
        const name = text();
        return (facts) => facts.resourceName === name;
      }
      return startsWith((facts) => facts.resourceName);
    }
    path('api', '.', 'getAttribute', '(');
    const name = text();
    expect(',');
    const fallback = text();
    expect(')');
    return startsWith((facts) => facts.attributes[name] ?? fallback);
  };
  const both = (): CelCondition => {
    const terms = [term()];
    while (accept('&&')) terms.push(term());
    return (facts) => terms.every((condition) => condition(facts));
  };
  function either(): CelCondition {
    const terms = [both()];
    while (accept('||')) terms.push(both());
    return (facts) => terms.some((condition) => condition(facts));
  }
  const condition = either();
  if (position < tokens.length) throw new Error(`unexpected text at token ${position}`);
  return condition;
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  const lexer = /\s+|(\|\||&&|==|[().,]|[A-Za-z_]\w*)|'((?:[^'\\\r\n]|\\.)*)'|"((?:[^"\\\r\n]|\\.)*)"/suy;
  while (lexer.lastIndex < source.length) {
    const at = lexer.lastIndex;
    const match = lexer.exec(source);
    if (match === null) throw new Error(`not understood at character ${at}`);
    const literal = match[2] ?? match[3];
    if (match[1] !== undefined) tokens.push({ kind: 'symbol', value: match[1] });
    else if (literal !== undefined) tokens.push({ kind: 'string', value: unescapeText(literal) });
  }
  return tokens;
}

const simpleEscapes: { [letter: string]: string } = {
  '\\': '\\',
  "'": "'",
  '"': '"',
  '`': '`',
  '?': '?',
  n: '\n',
  r: '\r',
  t: '\t',
};

function unescapeText(literal: string): string {
  return literal.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/gsu, (_, short, long, simple) => {
    if (short !== undefined || long !== undefined) return String.fromCodePoint(Number.parseInt(short ?? long, 16));
    const value = simpleEscapes[simple];
    if (value === undefined) throw new Error('unknown escape in a string');
    return value;
  });
}
