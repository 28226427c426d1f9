/** What `writ` can do, in words: the whole of it, one command of it, and what was meant by a misspelt one. */
import { nearName } from '../../broker/core/near-name.ts';

export const usage = `writ – a credential broker for AI agents

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
  writ provider postgres prepare
                                 show the SQL that holds leases to the rows of a database; --apply runs it
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

/** One command: its words, and its lines of the usage. */
interface Entry {
  words: string[];
  lines: string[];
}

const entries: Entry[] = entriesOf(usage.split('\n'));

function entriesOf(lines: string[]): Entry[] {
  const found: Entry[] = [];
  let open = false;
  for (const line of lines) {
    const [, said] = /^ {2}writ (.+)$/.exec(line) ?? [];
    if (said !== undefined) found.push({ words: wordsOf(said), lines: [line] });
    else if (open && /^ {3,}\S/.test(line)) found.at(-1)?.lines.push(line);
    open = said !== undefined || (open && /^ {3,}\S/.test(line));
  }
  return found;
}

/** `manifest check FILE …   parse, …` → manifest, check */
function wordsOf(said: string): string[] {
  const words = (said.split(/ {2}/)[0] ?? '').split(' ');
  const end = words.findIndex((word) => !/^[a-z][a-z-]*$/.test(word));
  return end < 0 ? words : words.slice(0, end);
}

/** The lines about the command that these words name, or begin to; null where there is none. */
export function helpOn(words: readonly string[]): string | null {
  for (let count = Math.min(words.length, 3); count > 0; count -= 1) {
    const named = words.slice(0, count);
    const about = entries.filter((entry) => named.every((word, at) => entry.words[at] === word));
    if (about.length === 0) continue;
    const text = about.flatMap(({ lines }) => lines).join('\n');
    return text.includes('[OPENING]') ? `${text}\n\n${opening}` : text;
  }
  return null;
}

/** Whether a command begins with these words, as far as it has any. */
const isCommand = (words: readonly string[]): boolean =>
  entries.some((entry) => entry.words.length > 0 && entry.words.every((word, at) => words[at] === word));

/** What to say of words that are no command: which was meant, or what follows the first of them. */
export function whichCommand(words: readonly string[]): string {
  if (isCommand(words)) return `✘ this is not how it is called:\n\n${helpOn(words)}\n`;
  const said = words.slice(0, 2).join(' ');
  const all = 'writ --help lists every command, writ COMMAND --help tells of one';
  if (said === '') return usage;
  const known = [...new Set(entries.flatMap((entry) => [entry.words.join(' '), entry.words[0] ?? '']))];
  const near = nearName(said, known) ?? nearName(words[0] ?? '', known);
  const group = entries.some((entry) => entry.words[0] === words[0]);
  const meant = near === null || near === words[0] ? '' : `; did you mean writ ${near}?`;
  const inGroup = group && meant === '' ? `\n\n${helpOn(words.slice(0, 1))}` : '';
  return `✘ there is no command ${visible(said)}${meant}${inGroup}\n${all}`;
}

/** What every command that opens a session takes. */
const opening = /^OPENING is [\s\S]*?(?=\n\n)/m.exec(usage)?.[0] ?? '';

/** The same of an option. */
export function whichOption(option: string, words: readonly string[]): string {
  const optionsIn = (text: string) => [...new Set([...text.matchAll(/--[a-z][a-z-]+/g)].map(([name]) => name))];
  const near = nearName(option, optionsIn(helpOn(words) ?? '')) ?? nearName(option, optionsIn(usage));
  return `${visible(option)} is no option of it${near === null ? '' : `; did you mean ${near}?`}`;
}

const visible = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 80);
