/**
 * The command line of `writ`: which command was asked for, what it prints, and its exit code. Each command is
 * loaded when it is asked for.
 */
import { parseArgs } from 'node:util';
import type { BreakGlassOptions } from './break-glass.ts';
import { type BrokerSide, CommandError, type LoadBrokerSide, type PostgresPreparation } from './broker-side.ts';
import type { LockOptions } from './lock.ts';

const usage = `writ – a credential broker for AI agents

  writ manifest check FILE …     parse, check and compile manifests; exit 1 with line, column and path of each fault
                                 --broker: and ask the broker what its settings allow (roles, owners, accounts, lifetimes)
  writ manifest test FILE …      run the cases beside manifests (NAME.cases.yaml); exit 1 with what was decided, and why
  writ manifest diff FILE        what it changes, in words, and whether it allows more than what is in force
                                 --against FILE|VERSION|TIME: than that; --fail-on-widening: exit 1 then; --json
  writ manifest publish FILE     show the changes, ask for a reason, and publish; --reason TEXT
  writ manifest history AGENT    every version: when it came into force, by whom, why; --json
  writ manifest show AGENT       the YAML in force; --at TIME|VERSION
  writ manifest rollback AGENT VERSION   publish an older version’s content as the next one; --reason TEXT
  writ manifest approve [ID]     agree to a version that allows more; without ID, list what waits; --yes
  writ manifest refuse ID        refuse one; --reason TEXT
  writ manifest replay FILE      decide anew, by this manifest, what is on record; --since 7d, --first 5, --json
  writ manifest suggest --agent NAME
                                 the narrowest manifest that covers what the agent really used, as a diff; --since 7d,
                                 --yaml: the manifest alone, --json
  writ manifest who-can          which sessions could ever do something, over all manifests in force: --provider NAME
                                 --action ACTION --resource RESOURCE, or --tool NAME, or --host HOST; --json
  writ manifest shadow FILE --reason TEXT
                                 let a manifest decide beside the one in force, without effect; --agent NAME: what it
                                 would have decided otherwise, --json; --agent NAME --withdraw: end it
  writ manifest schema FILE      show what policies of its cedar section may look at, as a Cedar schema
  writ lock agent NAME           stop an agent now: its sessions end, and what they hold is revoked; --reason TEXT, --json.
                                 Also owner team:…, capability NAME or AGENT/NAME, provider NAME, everything
  writ lock list                 locks, and how far each has come: sessions ended, credentials revoked; --json
  writ lock lift ID              lift one, as another admin than the one who set it; --reason TEXT. Also: lift agent NAME
  writ break-glass list          who had what given past the rules of a manifest, what was given, what is to be reviewed; --json
  writ break-glass ask           where to ask for one: a passkey signs it, in a browser. Also: agree ID
  writ break-glass close ID      close one that is open, or refuse one that waits; --reason TEXT
  writ break-glass review ID     review one that is over, as neither of the two; --reason TEXT
  writ audit verify              recompute every chain of the record; exit 1 and name the first broken row
                                 --checkpoints FILE … and --checkpoint-key NAME: against signed checkpoints
  writ audit key                 the name of the key that signs checkpoints, for whoever verifies elsewhere
  writ history check             hold what rules remember against the calls and grants on record; exit 1 and name what
                                 differs
  writ keys rotate               bring in a new signing key; it signs after WRIT_KEY_LEAD_SECONDS
  writ keys withdraw KID         withdraw a signing key at once: it leaves the JWKS, and what it signed is refused
  writ database prepare          show the SQL that makes two roles, one that owns the schema and one to run as;
                                 --apply runs it; --runtime-role NAME, --migration-role NAME
  writ provider postgres prepare show the SQL that holds leases to the rows of a database; --apply runs it
                                 --table SCHEMA.TABLE=COLUMN,… --view SCHEMA.TABLE=COLUMN,… --broker-role NAME;
                                 --check: what does not hold any more; --undo: take it all back
  writ reconcile --dry-run       name what a provider's target has of leases that no lease explains, and active leases
                                 without a credential there; [PROVIDER]; exit 1 when there is any; changes nothing
  writ doctor                    ask everything that the broker leans on whether it is as it should be: providers, issuer, clocks,
                                 database, Redis, sign-in, channels; each line ✔, ✘ with what to do, or – (not told, or not set
                                 up); exit 1 when anything is ✘; changes nothing; --json
  writ admin token               replace the bootstrap token, and print the new one

On the agent's side:

  writ session open [OPENING] -- COMMAND …
                                 open a session and run the command with it: WRIT_SESSION_SOCKET says where it is held;
                                 it ends with the command. --keep-identity: the command may open others.
                                 Without a command: prints the variable for a shell, and stays until it is told to end
  writ session resume HANDLE [-- COMMAND …]
                                 wake a session that sleeps, as the same workload, and hold it as open does
  writ session status            the session of WRIT_SESSION_SOCKET; exit 1 when it has ended
  writ session end               end it: everything it held is revoked
  writ guard [OPENING] -- COMMAND …, writ guard [OPENING] --url URL
                                 stand between an MCP client and this server: only what the session may call is listed
                                 and called. Uses the session of WRIT_SESSION_SOCKET, else opens one of its own.
                                 --name NAME of the server, on record; --prefix TEXT before its tools in the manifest;
                                 --label NAME … of what comes from it; --header NAME=VARIABLE … for --url;
                                 --wait SECONDS for a person (900); --timeout SECONDS for a call (300);
                                 --max-result BYTES (4194304); --pass-resources; --pins FILE; --pinned-only;
                                 --listen 127.0.0.1:PORT: for clients over HTTP, that show the token of --token-file FILE
                                 (written at each start, for this user alone) or, with --no-token, none
  writ guard pins                what the tools of guarded servers were agreed as, and what is held back
  writ guard pins accept NAME …  agree to what a tool is now; --all; --pins FILE
  writ hook install AGENT        make a coding agent ask before each tool call: claude-code, codex or opencode. In this
                                 folder's settings, or --user in your own; --dry-run shows them; --wait SECONDS for a person
                                 (240); --command TEXT: how a shell starts writ. uninstall takes it out again
  writ hook AGENT                the hook itself: reads one event of the agent, and answers it in the agent's own way

OPENING is --task-type NAME, --input NAME=TEXT or NAME:=NUMBER …, --on-behalf-of user:…, --max-seconds N, --max-grants N,
--broker URL. WRIT_URL and WRIT_TASK_TYPE say it where no option does. Who the agent is comes from WRIT_SUBJECT_TOKEN_FILE, from
WRIT_CLIENT_ID and WRIT_CLIENT_KEY_FILE (PEM or JWK), or from GitHub Actions.

provider postgres prepare reads WRIT_POSTGRES_ADMIN_URL, WRIT_POSTGRES_CA_FILE and WRIT_POSTGRES_BROKER_PASSWORD.
manifest check without --broker, test, and diff of two files need nothing but the files. The other commands of manifest, lock and break-glass ask a broker, as an admin:
WRIT_URL is its address, WRIT_ADMIN_TOKEN the bootstrap token or the value of a signed-in admin’s cookie (writ_login). audit verify reads DATABASE_URL and WRIT_DATABASE_SCHEMA.
doctor asks the broker at WRIT_URL, as an admin; without it, where the broker runs, it tries the environment there.
keys, history, reconcile, admin token, and audit verify of an embedded database, run where the broker runs and read the same environment
variables. With the embedded database, stop the broker first.
`;

/**
 * Runs one command.
 *
 * @param args what follows `writ`
 * @param loadBrokerSide loads what only a broker's installation has; null in the package on its own
 * @returns the exit code: 0 done, 1 refused or failed, 2 not understood
 */
export async function runWrit(args: string[], loadBrokerSide: LoadBrokerSide): Promise<number> {
  try {
    const agentSide = await runAgentSide(args);
    if (agentSide !== null) return agentSide;
    const { positionals, values } = parseArgs({
      args: keepKeyNames(args),
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
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
    if (values.help === true) {
      console.log(usage);
      return 0;
    }
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
    if (noun === 'lock') return await runLock(verb, rest, { reason: values.reason, json: values.json });
    if (noun === 'break-glass') return await runBreakGlass(verb, rest, { reason: values.reason, json: values.json });
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
      console.error(`✘ ${error.message}\n`);
      return wrongUsage();
    }
    const { name, message, code } = error as NodeJS.ErrnoException;
    // A ConfigurationError (broker/config) is a list of its own, one fault a line. A host with two addresses,
    // neither of which answers, has a code only.
    console.error(name === 'ConfigurationError' ? message : `✘ ${message || code}`);
    return 1;
  }
}

async function runLock(verb: string | undefined, rest: string[], options: LockOptions): Promise<number> {
  const lock = await import('./lock.ts');
  if (verb === 'list' && rest.length === 0) return lock.listLocks(process.env, options);
  if (verb === 'lift' && rest.length >= 1 && rest.length <= 2) return lock.liftLock(process.env, rest, options);
  if (!lock.isLevel(verb) || rest.length !== (verb === 'everything' ? 0 : 1)) return wrongUsage();
  return lock.setLock(process.env, verb, rest[0], options);
}

async function runBreakGlass(verb: string | undefined, rest: string[], options: BreakGlassOptions): Promise<number> {
  const breakGlass = await import('./break-glass.ts');
  if (verb === 'list' && rest.length === 0) return breakGlass.listBreakGlasses(process.env, options);
  if (verb === 'ask' && rest.length === 0) return breakGlass.leadToBrowser(process.env);
  const [id, ...more] = rest;
  if (id === undefined || more.length > 0) return wrongUsage();
  if (verb === 'agree') return breakGlass.leadToBrowser(process.env, id);
  if (verb === 'close') return breakGlass.closeBreakGlass(process.env, id, options);
  return verb === 'review' ? breakGlass.reviewBreakGlass(process.env, id, options) : wrongUsage();
}

/** Commands that read the rest of their line themselves. @returns null = it is none of them */
async function runAgentSide([noun, ...rest]: string[]): Promise<number | null> {
  if (rest[0] === '--help') return null;
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

function wrongUsage(): number {
  console.error(usage);
  return 2;
}
