/**
 * What the example prints: a heading per step, a line per attempt with ✔ or ✘ and the provider's own answer.
 */

export interface Steps {
  step(number: string, title: string): void;
  say(text: string): void;
  /** One line; counts as failed when `held` is false. */
  check(held: boolean, what: string, answer: string): void;
  /** The attempt must succeed. */
  works(what: string, attempt: () => Promise<string>): Promise<void>;
  /**
   * The attempt must be refused by whom it is made at: an answer with a 4xx status, or a database's that this
   * is not permitted; not a broken connection.
   */
  refused(what: string, attempt: () => Promise<unknown>): Promise<void>;
  failed(): number;
}

export function createSteps(print: (line: string) => void = console.log): Steps {
  let failed = 0;
  const check = (held: boolean, what: string, answer: string) => {
    if (!held) failed += 1;
    print(`  ${held ? '✔' : '✘'} ${what} → ${answer}`);
  };
  return {
    step: (number, title) => print(`\n${number}. ${title}`),
    say: (text) => print(`  · ${text}`),
    check,
    works: async (what, attempt) => {
      try {
        check(true, what, JSON.stringify(await attempt()));
      } catch (error) {
        check(false, what, answerOf(error).text);
      }
    },
    refused: async (what, attempt) => {
      try {
        await attempt();
        check(false, `refused: ${what}`, 'it was allowed');
      } catch (error) {
        const { refused, text } = answerOf(error);
        check(refused, `refused: ${what}`, text);
      }
    },
    failed: () => failed,
  };
}

/** PostgreSQL's codes: no right, a login that is not believed. */
const notPermitted = new Set(['42501', '28P01', '28000']);

/** The provider's own words, whichever SDK carries them. */
function answerOf(error: unknown): { refused: boolean; text: string } {
  const known = error as {
    name?: string;
    message?: string;
    status?: number;
    $metadata?: { httpStatusCode?: number };
    response?: { status?: number };
    code?: unknown;
    severity?: unknown;
  };
  if (known.severity !== undefined)
    return { refused: notPermitted.has(String(known.code)), text: `${known.code} ${firstLine(known.message ?? '')}` };
  // Google's storage client puts the status into `code`, where others put the name of a broken connection.
  const code = typeof known.code === 'number' ? known.code : 0;
  const status = known.$metadata?.httpStatusCode ?? known.response?.status ?? known.status ?? code;
  const name = known.$metadata === undefined ? '' : `${known.name}: `;
  return { refused: status >= 400 && status < 500, text: `${status} ${name}${firstLine(known.message ?? '')}` };
}

/** Google's client gives the whole JSON answer as its message. */
function firstLine(message: string): string {
  const inner = /"message":"([^"]+)"/.exec(message)?.[1] ?? message;
  return inner.split('\n')[0]!.slice(0, 140);
}
