/**
 * Variables that begin like ours and are none of ours. One letter wrong in `WRIT_REQUIRE_DPOP` would leave
 * the broker open without a word, so that it refuses to start instead.
 */
import { z } from 'zod';
import { nearName } from '../core/near-name.ts';
import { environment, type SettingsModule } from './settings.ts';

/** Read by the agent’s side, by operators’ commands and by tests: the same shell may hold them. */
const ofOthers = new Set([
  'WRIT_ADMIN_TOKEN',
  'WRIT_CLIENT_ID',
  'WRIT_CLIENT_KEY_FILE',
  'WRIT_POSTGRES_ADMIN_URL',
  'WRIT_POSTGRES_BROKER_PASSWORD',
  'WRIT_RUNTIME_PASSWORD',
  'WRIT_SESSION_SOCKET',
  'WRIT_STATE_DIR',
  'WRIT_SUBJECT_TOKEN_FILE',
  'WRIT_TASK_TYPE',
  'WRIT_URL',
]);
const ofTests = /^WRIT_(TEST|BENCH)_|^WRIT_(SCREENSHOTS|RADOSGW_LAB)$/;
/** `readStreams` knows these, and which of them is of no stream. */
const ofStreams = /^WRIT_STREAM_/;

/**
 * Kubernetes gives each pod the address of a service named `writ`, or `writ-…`, in variables of these names.
 * `WRIT_PORT` is such an address only when it is one: somebody may have meant `PORT`.
 */
const ofService = /^WRIT_([A-Z0-9]+_)*?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)$/;
const isServiceLink = (name: string, value: string) =>
  ofService.test(name) || (/^WRIT_([A-Z0-9]+_)*PORT$/.test(name) && /^(tcp|udp|sctp):\/\//.test(value));

/**
 * @param modules every provider and channel there is, on or off: what is set for one that is off is no fault
 * @returns one fault for each, with the name that was probably meant
 */
export function unknownVariables(
  env: { readonly [name: string]: string | undefined },
  modules: readonly SettingsModule[],
): string[] {
  const known = knownTo(modules);
  return Object.entries(env).flatMap(([name, value]) => {
    const expected = known.has(name) || ofOthers.has(name) || ofTests.test(name) || ofStreams.test(name);
    if (!name.startsWith('WRIT_') || value === undefined || value === '' || expected) return [];
    if (isServiceLink(name, value)) return [];
    const near = name === 'WRIT_PORT' ? 'PORT' : nearName(name, known);
    return [`${name}: is no variable of Writ; ${near === null ? 'take it out' : `did you mean ${near}?`}`];
  });
}

/**
 * Names of ours without our beginning, misspelt (`SLACK_BOT_TOKN`): what they switch on stays off. A warning,
 * because the variable may be somebody else's.
 * @param modules as above
 */
export function misspeltVariables(
  env: { readonly [name: string]: string | undefined },
  modules: readonly SettingsModule[],
): { variable: string; near: string }[] {
  const known = knownTo(modules);
  const isSet = (name: string) => env[name] !== undefined && env[name] !== '';
  const missing = [...known].filter((name) => !name.startsWith('WRIT_') && name.includes('_') && !isSet(name));
  return Object.keys(env).flatMap((variable) => {
    if (known.has(variable) || variable.startsWith('WRIT_') || !isSet(variable)) return [];
    const near = nearName(variable, missing, 2);
    return near === null ? [] : [{ variable, near }];
  });
}

function knownTo(modules: readonly SettingsModule[]): Set<string> {
  const known = new Set(Object.keys(environment.shape));
  for (const { switchedOnBy, settings } of modules) {
    if (switchedOnBy !== 'always') for (const name of switchedOnBy) known.add(name);
    if (settings instanceof z.ZodObject) for (const name of Object.keys(settings.shape)) known.add(name);
  }
  return known;
}
