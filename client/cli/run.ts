/**
 * The command line of `writ`: which command was asked for, what it prints, and its exit code. Each command is
 * loaded when it is asked for.
 */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { BreakGlassOptions } from './break-glass.ts';
import { type BrokerSide, CommandError, type LoadBrokerSide, type PostgresPreparation } from './broker-side.ts';
import type { LockOptions } from './lock.ts';
import { helpOn, usage, whichCommand, whichOption } from './usage.ts';

/**
 * Runs one command.
 *
 * @param args what follows `writ`
 * @param loadBrokerSide loads what only a broker's installation has; null in the package on its own
 * @returns the exit code: 0 done, 1 refused or failed, 2 not understood
 */
export async function runWrit(args: string[], loadBrokerSide: LoadBrokerSide): Promise<number> {
  const words = commandWords(args);
  const wrongUsage = (): number => {
    console.error(whichCommand(words));
    return 2;
  };
  try {
    if (args[0] === '--version') {
      console.log(await ownVersion());
      return 0;
    }
    if (args[0] === 'help' || asksForHelp(args)) {
      console.log(helpOn(args[0] === 'help' ? args.slice(1) : words) ?? usage);
      return 0;
    }
    const agentSide = await runAgentSide(args);
    if (agentSide !== null) return agentSide;
    const { positionals, values } = parseArgs({
      args: keepKeyNames(args),
      allowPositionals: true,
      options: {
        against: { type: 'string' },
        at: { type: 'string' },
        reason: { type: 'string' },
        yes: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        'fail-on-widening': { type: 'boolean', default: false },
        checkpoints: { type: 'string', multiple: true, default: [] },
        'checkpoint-key': { type: 'string' },
        apply: { type: 'boolean', default: false },
        'dry-run': { type: 'boolean', default: false },
        check: { type: 'boolean', default: false },
        broker: { type: 'boolean', default: false },
        undo: { type: 'boolean', default: false },
        since: { type: 'string', default: '7d' },
        first: { type: 'string', default: '5' },
        yaml: { type: 'boolean', default: false },
        agent: { type: 'string' },
        withdraw: { type: 'boolean', default: false },
        provider: { type: 'string' },
        action: { type: 'string' },
        resource: { type: 'string' },
        tool: { type: 'string' },
        host: { type: 'string' },
        table: { type: 'string', multiple: true, default: [] },
        view: { type: 'string', multiple: true, default: [] },
        'broker-role': { type: 'string', default: 'writ_broker' },
        'migration-role': { type: 'string', default: 'writ_migration' },
        'runtime-role': { type: 'string', default: 'writ_runtime' },
      },
    });
    const [noun, verb, ...rest] = positionals;
    const publishing = { reason: values.reason, yes: values.yes };
    if (noun === 'reconcile') {
      if (!values['dry-run'] || rest.length > 0) return wrongUsage();
      return await reconcile(loadBrokerSide, verb ?? null);
    }
    if (noun === 'doctor') {
      if (verb !== undefined) return wrongUsage();
      return await (await import('./doctor.ts')).examine(process.env, loadBrokerSide, values.json);
    }
    if (noun === 'lock')
      return (await runLock(verb, rest, { reason: values.reason, json: values.json })) ?? wrongUsage();
    if (noun === 'break-glass')
      return (await runBreakGlass(verb, rest, { reason: values.reason, json: values.json })) ?? wrongUsage();
    switch (`${noun} ${verb}`) {
      case 'manifest check':
        if (rest.length === 0) return wrongUsage();
        return await (await import('./manifest-check.ts')).checkManifests(rest, values.broker ? process.env : null);
      case 'manifest test':
        if (rest.length === 0) return wrongUsage();
        return await (await import('./manifest-test.ts')).testManifests(rest);
      case 'manifest diff':
        if (rest.length !== 1) return wrongUsage();
        return await (await import('./manifest-diff.ts')).diffFile(process.env, rest[0]!, {
          against: values.against,
          failOnWidening: values['fail-on-widening'],
          json: values.json,
        });
      case 'manifest history':
        if (rest.length !== 1) return wrongUsage();
        return await (await import('./manifest-history.ts')).showHistory(process.env, rest[0]!, values.json);
      case 'manifest show':
        if (rest.length !== 1) return wrongUsage();
        return await (await import('./manifest-history.ts')).showVersion(process.env, rest[0]!, values.at);
      case 'manifest publish':
        if (rest.length !== 1) return wrongUsage();
        return await (await import('./manifest-publish.ts')).publishFile(process.env, rest[0]!, publishing);
      case 'manifest rollback':
        if (rest.length !== 2) return wrongUsage();
        return await (await import('./manifest-publish.ts')).rollBack(process.env, rest[0]!, rest[1]!, publishing);
      case 'manifest approve':
        if (rest.length > 1) return wrongUsage();
        return await (rest.length === 0
          ? (await import('./manifest-publish.ts')).listProposals(process.env)
          : (await import('./manifest-publish.ts')).approve(process.env, rest[0]!, publishing));
      case 'manifest refuse':
        if (rest.length !== 1) return wrongUsage();
        return await (await import('./manifest-publish.ts')).refuse(process.env, rest[0]!, publishing);
      case 'manifest replay': {
        const first = Number(values.first);
        if (rest.length !== 1 || !Number.isInteger(first) || first < 0 || first > 1000) return wrongUsage();
        const { replayManifest } = await import('./manifest-replay.ts');
        return await replayManifest(process.env, rest[0]!, { since: values.since, json: values.json, first });
      }
      case 'manifest suggest': {
        if (rest.length !== 0 || values.agent === undefined) return wrongUsage();
        const { since, json, yaml } = values;
        return await (await import('./manifest-suggest.ts')).suggestManifest(process.env, values.agent, {
          since,
          json,
          yaml,
        });
      }
      case 'manifest shadow': {
        const { beginShadow, endShadow, showShadow } = await import('./manifest-shadow.ts');
        const { agent, reason, withdraw, json } = values;
        if (rest.length === 1 && reason !== undefined && agent === undefined)
          return await beginShadow(process.env, rest[0]!, reason);
        if (rest.length !== 0 || agent === undefined) return wrongUsage();
        return withdraw ? await endShadow(process.env, agent) : await showShadow(process.env, agent, json);
      }
      case 'manifest who-can': {
        const { provider, action, resource, tool, host } = values;
        const asked = Object.entries({ provider, action, resource, tool, host }).filter(
          ([, value]) => value !== undefined,
        );
        if (rest.length !== 0 || asked.length === 0) return wrongUsage();
        const question = Object.fromEntries(asked) as { [name: string]: string };
        return await (await import('./manifest-who-can.ts')).whoCan(process.env, question, values.json);
      }
      case 'manifest schema':
        if (rest.length !== 1) return wrongUsage();
        return await (await import('./manifest-check.ts')).showCedarSchema(rest[0]!);
      case 'audit verify':
        return await (await import('./audit-verify.ts')).verify(process.env, loadBrokerSide, {
          checkpoints: values.checkpoints,
          checkpointKey: values['checkpoint-key'],
        });
      case 'audit key':
        return await (await import('./audit-verify.ts')).showKey(process.env);
      case 'history check':
        return await checkHistory(loadBrokerSide);
      case 'keys rotate':
        return await rotateKeys(loadBrokerSide);
      case 'keys withdraw':
        if (rest.length !== 1) return wrongUsage();
        return await withdrawKey(loadBrokerSide, rest[0]!);
      case 'database prepare':
        return await prepareDatabase(loadBrokerSide, {
          apply: values.apply,
          migrationRole: values['migration-role'],
          runtimeRole: values['runtime-role'],
        });
      case 'provider postgres':
        if (rest.length !== 1 || rest[0] !== 'prepare' || (values.check && values.undo)) return wrongUsage();
        return await preparePostgres(loadBrokerSide, {
          action: values.check ? 'check' : values.undo ? 'undo' : 'prepare',
          apply: values.apply,
          tables: values.table,
          views: values.view,
          brokerRole: values['broker-role'],
        });
      case 'admin token':
        console.log(await (await brokerSide(loadBrokerSide, 'admin token')).renewAdminToken());
        return 0;
      default:
        return wrongUsage();
    }
  } catch (error) {
    if (isWrongOption(error)) {
      const [, option] = /^Unknown option '(-[^' ]*)/.exec(error.message) ?? [];
      console.error(`✘ ${option === undefined ? error.message : whichOption(option, words)}\n`);
      console.error(helpOn(words) ?? usage);
      return 2;
    }
    const { name, message, code } = error as NodeJS.ErrnoException;
    // A ConfigurationError (broker/config) is a list of its own, one fault a line. A host with two addresses,
    // neither of which answers, has a code only.
    console.error(name === 'ConfigurationError' ? message : `✘ ${message || code}`);
    return 1;
  }
}

/** @returns null = it is called otherwise */
async function runLock(verb: string | undefined, rest: string[], options: LockOptions): Promise<number | null> {
  const lock = await import('./lock.ts');
  if (verb === 'list' && rest.length === 0) return lock.listLocks(process.env, options);
  if (verb === 'lift' && rest.length >= 1 && rest.length <= 2) return lock.liftLock(process.env, rest, options);
  if (!lock.isLevel(verb) || rest.length !== (verb === 'everything' ? 0 : 1)) return null;
  return lock.setLock(process.env, verb, rest[0], options);
}

/** @returns null = it is called otherwise */
async function runBreakGlass(
  verb: string | undefined,
  rest: string[],
  options: BreakGlassOptions,
): Promise<number | null> {
  const breakGlass = await import('./break-glass.ts');
  if (verb === 'list' && rest.length === 0) return breakGlass.listBreakGlasses(process.env, options);
  if (verb === 'ask' && rest.length === 0) return breakGlass.leadToBrowser(process.env);
  const [id, ...more] = rest;
  if (id === undefined || more.length > 0) return null;
  if (verb === 'agree') return breakGlass.leadToBrowser(process.env, id);
  if (verb === 'close') return breakGlass.closeBreakGlass(process.env, id, options);
  return verb === 'review' ? breakGlass.reviewBreakGlass(process.env, id, options) : null;
}

/** Commands that read the rest of their line themselves. @returns null = it is none of them */
async function runAgentSide([noun, ...rest]: string[]): Promise<number | null> {
  if (noun === 'guard') {
    const guard = await import('./guard.ts');
    return rest[0] === 'pins' ? guard.guardPins(rest.slice(1), process.env) : guard.guardServer(rest, process.env);
  }
  if (noun === 'hook') return (await import('./hook.ts')).runHook([rest[0] ?? '', ...rest.slice(1)], process.env);
  if (noun !== 'session') return null;
  const [verb, ...more] = rest;
  const session = await import('./session.ts');
  if (verb === 'open') return session.openSession(more, process.env);
  if (verb === 'resume') return session.resumeSession(more, process.env);
  if (verb === 'status' && more.length === 0) return session.showSession(process.env);
  if (verb === 'end' && more.length === 0) return session.endSession(process.env);
  return null;
}

/** The words before any option or `--`. */
function commandWords(args: readonly string[]): string[] {
  const end = args.findIndex((arg) => arg.startsWith('-'));
  return args.slice(0, end < 0 ? args.length : end).slice(0, 3);
}

/** What follows `--` is another program's. A hook that is called wrongly denies, whatever it is asked. */
function asksForHelp(args: readonly string[]): boolean {
  const own = args.slice(0, args.includes('--') ? args.indexOf('--') : args.length);
  if (own[0] === 'hook' && own[1] !== 'install' && own[1] !== 'uninstall') return isHelp(own[1]);
  return own.some(isHelp);
}
const isHelp = (arg: string | undefined): boolean => arg === '--help' || arg === '-h';

/** Of the package that this file belongs to, wherever it was compiled to. */
async function ownVersion(): Promise<string> {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => null);
    const { name, version } = text === null ? {} : (JSON.parse(text) as { name?: string; version?: string });
    if (name === 'writ') return `writ ${version}`;
    if (folder === dirname(folder)) return 'writ';
  }
}

/** Names of keys are base64url: one in 64 begins with a dash, and is no option for that. */
function keepKeyNames(args: string[]): string[] {
  if (args[0] === 'keys' && args[1] === 'withdraw' && args.length === 3 && !/^(-h|--help|--)$/.test(args[2]!))
    return ['keys', 'withdraw', '--', args[2]!];
  const at = args.indexOf('--checkpoint-key');
  if (at < 0 || args[at + 1] === undefined) return args;
  return [...args.slice(0, at), `--checkpoint-key=${args[at + 1]}`, ...args.slice(at + 2)];
}

async function checkHistory(loadBrokerSide: LoadBrokerSide): Promise<number> {
  const { right, differing } = await (await brokerSide(loadBrokerSide, 'history check')).checkHistory();
  for (const line of differing) console.error(`✘ ${line}`);
  if (differing.length === 0) console.log(`✔ ${right} cells of history are as the record made them`);
  return differing.length === 0 ? 0 : 1;
}

async function rotateKeys(loadBrokerSide: LoadBrokerSide): Promise<number> {
  const { kid, leadSeconds } = await (await brokerSide(loadBrokerSide, 'keys rotate')).rotateKeys();
  console.log(`✔ key ${kid} is published now and signs in ${leadSeconds} s`);
  return 0;
}

async function withdrawKey(loadBrokerSide: LoadBrokerSide, kid: string): Promise<number> {
  const signs = await (await brokerSide(loadBrokerSide, 'keys withdraw')).withdrawKey(kid);
  if (signs === null) throw new CommandError(`there is no key ${kid} to withdraw`);
  console.log(`✔ key ${kid} is withdrawn; ${signs} signs now`);
  return 0;
}

async function prepareDatabase(
  loadBrokerSide: LoadBrokerSide,
  options: { apply: boolean; migrationRole: string; runtimeRole: string },
): Promise<number> {
  const side = await brokerSide(loadBrokerSide, 'database prepare');
  const { statements, pending } = await side.prepareDatabase(process.env, options);
  for (const statement of statements) console.log(`${statement};`);
  if (pending.length > 0) console.log(`-- migrations, as ${options.migrationRole}: ${pending.join(', ')}`);
  console.log(
    options.apply
      ? `-- done: brokers run as ${options.runtimeRole}`
      : '-- nothing was changed: --apply runs this, with the migrations before the rights',
  );
  return 0;
}

async function preparePostgres(loadBrokerSide: LoadBrokerSide, options: PostgresPreparation): Promise<number> {
  const side = await brokerSide(loadBrokerSide, 'provider postgres prepare');
  const { statements, faults, notes } = await side.preparePostgres(process.env, options);
  if (options.action === 'check') {
    for (const note of notes) console.log(`· ${note}`);
    for (const fault of faults) console.error(`✘ ${fault}`);
    if (faults.length === 0) console.log('✔ what was prepared holds');
    return faults.length === 0 ? 0 : 1;
  }
  for (const statement of ['BEGIN', 'SET LOCAL search_path = pg_catalog, pg_temp', ...statements, 'COMMIT'])
    console.log(`${statement};`);
  console.log(options.apply ? '-- done' : '-- nothing was changed: --apply runs this');
  return 0;
}

async function reconcile(loadBrokerSide: LoadBrokerSide, provider: string | null): Promise<number> {
  const side = await brokerSide(loadBrokerSide, 'reconcile --dry-run');
  const all = await side.reconcile(provider);
  for (const { provider: name, listed, leases, faults, notes } of all) {
    for (const note of notes) console.log(`· ${name}: ${note}`);
    for (const fault of faults) console.error(`✘ ${name}: ${fault}`);
    if (!listed) console.log(`· ${name}: its target keeps no list of credentials`);
    else if (faults.length === 0) console.log(`✔ ${name}: nothing is left over; ${leases} leases have not ended`);
  }
  return all.every(({ faults }) => faults.length === 0) ? 0 : 1;
}

async function brokerSide(load: LoadBrokerSide, command: string): Promise<BrokerSide> {
  if (load === null)
    throw new CommandError(
      `${command} runs where the broker runs, because it needs the broker’s database and key-encryption key: ` +
        `run \`npx writ ${command}\` in the broker’s folder, with its environment`,
    );
  return load();
}

const isWrongOption = (error: unknown): error is Error =>
  error instanceof Error && String((error as NodeJS.ErrnoException).code).startsWith('ERR_PARSE_ARGS_');
