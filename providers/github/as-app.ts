/** Calls as the App, with a JWT by GitHub's own clock. */
import type { ApiAnswer } from './api.ts';

/**
 * Makes a call; once more where GitHub did not take the JWT and its answer has taught us another time than
 * the JWT was made by. A 401 has no effect, so a mint is not made twice.
 */
export type AsApp = (call: (jwt: string) => Promise<ApiAnswer>) => Promise<ApiAnswer>;

export function asApp(jwt: () => string): AsApp {
  return async (call) => {
    const used = jwt();
    const answer = await call(used);
    if (answer.status !== 401) return answer;
    const corrected = jwt();
    return corrected === used ? answer : call(corrected);
  };
}
