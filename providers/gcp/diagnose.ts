/**
 * Asks Google whether the broker is let in, and what it may do with each account. No token of an account is
 * minted: IAM itself says what the broker has.
 */
import { type Finding, ProviderError } from '../contract.ts';
import type { Caller } from './caller.ts';
import type { ServiceAccounts } from './service-accounts.ts';
import type { GcpSettings } from './settings.ts';

const minting = 'iam.serviceAccounts.getAccessToken';
const ending = ['iam.serviceAccounts.get', 'iam.serviceAccounts.disable', 'iam.serviceAccounts.enable'];

interface Asking {
  config: GcpSettings;
  caller: Caller;
  accounts: ServiceAccounts;
}

/** Never throws. */
export async function diagnose({ config, caller, accounts }: Asking, signal: AbortSignal): Promise<Finding[]> {
  const federated = config.WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER;
  const what =
    federated === undefined
      ? 'the ambient credentials are Google’s, and hold'
      : `the pool’s provider ${federated} is there and accepts this broker’s issuer`;
  const refused = await failureOf(caller.token(signal, true));
  if (refused !== null)
    return [
      {
        what,
        state: 'fails',
        found: wordsOf(refused),
        fix:
          federated === undefined
            ? 'Set up Application Default Credentials on this machine, or WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER.'
            : `Look at the name in WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER; give the provider this broker’s issuer, its default audience, and no condition that refuses the subject ${config.WRIT_GCP_BROKER_SUBJECT}; and see that Google reaches the issuer from outside.`,
      },
    ];
  const findings: Finding[] = [{ what, state: 'holds' }];
  for (const email of [...config.WRIT_GCP_SERVICE_ACCOUNTS, ...config.WRIT_GCP_SHARED_SERVICE_ACCOUNTS]) {
    const pooled = config.WRIT_GCP_SERVICE_ACCOUNTS.includes(email);
    findings.push(...(await ofAccount(accounts, email, pooled, config.WRIT_GCP_BROKER_SUBJECT, signal)));
  }
  return findings;
}

async function ofAccount(
  accounts: ServiceAccounts,
  email: string,
  pooled: boolean,
  subject: string,
  signal: AbortSignal,
): Promise<Finding[]> {
  const mints = `the broker may mint tokens of ${email}`;
  const ends = `the broker may disable and enable ${email}`;
  const found = await accounts.permissionsOn(email, pooled ? [minting, ...ending] : [minting], signal).then(
    (permissions) => ({ permissions }),
    (error: unknown) => ({ refused: asProviderError(error) }),
  );
  if ('refused' in found)
    return [
      {
        what: mints,
        state: 'fails',
        found: wordsOf(found.refused),
        fix: `Create ${email}, or correct its name in WRIT_GCP_SERVICE_ACCOUNTS or WRIT_GCP_SHARED_SERVICE_ACCOUNTS; see that the IAM API is on.`,
      },
    ];
  const lacking = ending.filter((permission) => !found.permissions.includes(permission));
  return [
    found.permissions.includes(minting)
      ? { what: mints, state: 'holds' }
      : {
          what: mints,
          state: 'fails',
          found: `it lacks ${minting}`,
          fix: `Give the broker’s principal (subject ${subject} of the pool) roles/iam.serviceAccountTokenCreator on ${email}.`,
        },
    ...(!pooled
      ? []
      : lacking.length === 0
        ? [{ what: ends, state: 'holds' } as const]
        : [
            {
              what: ends,
              state: 'fails',
              found: `it lacks ${lacking.join(', ')}: grants on it could not be revoked`,
              fix: `Give the broker’s principal roles/iam.serviceAccountAdmin on ${email}.`,
            } as const,
          ]),
  ];
}

const failureOf = (call: Promise<unknown>): Promise<ProviderError | null> => call.then(() => null, asProviderError);

function asProviderError(error: unknown): ProviderError {
  if (error instanceof ProviderError) return error;
  // Nothing that is known of: its text may quote what was sent.
  return new ProviderError('upstream_unavailable', 'Google could not be asked');
}

const wordsOf = ({ message, providerText }: ProviderError): string =>
  providerText === null || message.includes(providerText) ? message : `${message} ${providerText}`;
