/** Environment variables that switch Google Cloud on, and what they mean. */
import { z } from 'zod';

/** User-managed service accounts (`NAME@PROJECT.iam.gserviceaccount.com`) and Google's default ones. */
export const serviceAccount = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?@[a-z0-9.-]{1,80}\.gserviceaccount\.com$/;
const workloadIdentityProvider =
  /^projects\/[0-9]{1,19}\/locations\/global\/workloadIdentityPools\/[a-z0-9-]{4,32}\/providers\/[a-z0-9-]{4,32}$/;
/**
 * Of a project that belongs to a domain, or of another universe, the id has that before a colon:
 * `example.com:reports`.
 */
export const projectId = /^(?:[a-z0-9][a-z0-9.-]{0,62}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$/;

const accountList = z
  .string()
  .default('')
  .transform((text) => [...new Set(text.split(/[\s,]+/).filter((entry) => entry !== ''))])
  .refine((emails) => emails.every((email) => serviceAccount.test(email)), {
    error: 'must list service account e-mails, separated by commas',
  });

/** Plain http would show tokens to the network, so only this machine itself may be spoken to that way. */
const endpoint = () =>
  z
    .string()
    .transform((text) => text.replace(/\/+$/, ''))
    .refine((text) => isSafeEndpoint(text), {
      error: 'must be an https URL without path; plain http is for loopback only',
    })
    .optional();

/** The endpoints, and the service of each that stands before the universe's domain. */
const services = {
  WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: 'iamcredentials',
  WRIT_GCP_STS_ENDPOINT: 'sts',
  WRIT_GCP_IAM_ENDPOINT: 'iam',
  WRIT_GCP_STORAGE_ENDPOINT: 'storage',
} as const;
const googlesOwn = 'googleapis.com';

export const settings = z
  .object({
    GOOGLE_CLOUD_PROJECT: z
      .string()
      .regex(projectId, 'must be a project id')
      .optional()
      .describe('Project that credentials name as theirs, unless the capability names another.'),
    WRIT_GCP_SERVICE_ACCOUNTS: accountList.describe(
      'The pool: service accounts that only Writ uses. Each live grant gets one of its own, which is disabled to revoke the grant and enabled again after its last token has expired. Size it to the number of grants alive at once.',
    ),
    WRIT_GCP_SHARED_SERVICE_ACCOUNTS: accountList.describe(
      'Service accounts that a capability may name (`service_account`) and share with others. Grants on them cannot be revoked before they expire.',
    ),
    WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: z
      .string()
      .regex(
        workloadIdentityProvider,
        'must be projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER',
      )
      .optional()
      .describe('Workload identity provider that trusts the broker as issuer: no Google key is held anywhere.'),
    WRIT_GCP_BROKER_SUBJECT: z
      .string()
      .regex(/^[A-Za-z0-9._:/-]{1,127}$/, 'must be 1 to 127 plain characters')
      // An agent's session token carries its name as `sub`; names that begin with `writ-` are refused in
      // manifests.
      .refine((subject) => !/^(?!writ(?:-|$))[a-z][a-z0-9-]{0,62}$/.test(subject), {
        error: 'could be the name of an agent: begin it with "writ-"',
      })
      .default('writ-broker')
      .describe('Subject (`sub`) under which the broker presents itself to the workload identity provider.'),
    WRIT_GCP_AMBIENT_CREDENTIALS: z
      .enum(['0', '1'])
      .default('0')
      .transform((text) => text === '1')
      .describe('1: use Application Default Credentials of the machine the broker runs on, instead of federation.'),
    WRIT_GCP_TRANSPORT: z
      .enum(['rest', 'grpc'])
      .default('rest')
      .describe('How generateAccessToken is called. `grpc` needs the package `@google-cloud/iam-credentials`.'),
    WRIT_GCP_REVOKE_LAG_SECONDS: z
      .string()
      .regex(/^\d{1,4}$/, 'must be whole seconds')
      .default('120')
      .transform(Number)
      .refine((seconds) => seconds <= 3600, { error: 'must be at most 3600' })
      .describe(
        'How long a disabled service account may still be accepted somewhere in Google Cloud. A grant shows as revoked only after that. Google says two minutes are typical and seven or more possible.',
      ),
    GOOGLE_CLOUD_UNIVERSE_DOMAIN: z
      .string()
      .regex(/^(?=.{4,253}$)[a-z0-9-]+(?:\.[a-z0-9-]+)+$/, 'must be a domain')
      .default(googlesOwn)
      .describe(
        'Universe whose services are called, by its domain: Google’s own clouds for single countries have others.',
      ),
    WRIT_GCP_AUDIENCE: z
      .string()
      .regex(/^\/\/[a-z0-9.-]+\/[A-Za-z0-9/._-]{1,300}$/, 'must be //HOST/NAME')
      .optional()
      .describe(
        'Full name of the workload identity provider, as the Security Token Service is told it. Default: //iam.googleapis.com/ and WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER.',
      ),
    WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: endpoint().describe(
      'Address of IAM Credentials (both transports), for private endpoints or the sandbox. Default: the universe’s.',
    ),
    WRIT_GCP_STS_ENDPOINT: endpoint().describe('Address of the Security Token Service. Default: the universe’s.'),
    WRIT_GCP_IAM_ENDPOINT: endpoint().describe('Address of IAM (disabling accounts). Default: the universe’s.'),
    WRIT_GCP_STORAGE_ENDPOINT: endpoint().describe(
      'Address of Cloud Storage, where the state of objects is read. Default: the universe’s.',
    ),
  })
  .superRefine((values, context) => {
    const fault = (variable: string, message: string) =>
      context.addIssue({ code: 'custom', path: [variable], message: `${variable} ${message}` });
    const shared = new Set(values.WRIT_GCP_SHARED_SERVICE_ACCOUNTS);
    if (values.WRIT_GCP_SERVICE_ACCOUNTS.length === 0 && shared.size === 0)
      fault('WRIT_GCP_SERVICE_ACCOUNTS', 'is missing: name the pool, or WRIT_GCP_SHARED_SERVICE_ACCOUNTS');
    const both = values.WRIT_GCP_SERVICE_ACCOUNTS.find((email) => shared.has(email));
    if (both !== undefined)
      fault(
        'WRIT_GCP_SHARED_SERVICE_ACCOUNTS',
        `names a member of the pool, ${both}: disabling it would cut others off`,
      );
    const federated = values.WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER !== undefined;
    if (!federated && !values.WRIT_GCP_AMBIENT_CREDENTIALS)
      fault('WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER', 'is missing: set it, or WRIT_GCP_AMBIENT_CREDENTIALS=1');
    if (federated && values.WRIT_GCP_AMBIENT_CREDENTIALS)
      fault('WRIT_GCP_AMBIENT_CREDENTIALS', 'is set together with WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: choose one');
    // A private endpoint may be called anything, but never as the services of another universe are.
    const universe = values.GOOGLE_CLOUD_UNIVERSE_DOMAIN;
    for (const variable of Object.keys(services) as (keyof typeof services)[]) {
      const host = URL.canParse(values[variable] ?? '') ? new URL(values[variable] ?? '').hostname : '';
      if (universe !== googlesOwn && (host === googlesOwn || host.endsWith(`.${googlesOwn}`)))
        fault(variable, `is of the universe ${googlesOwn}, but GOOGLE_CLOUD_UNIVERSE_DOMAIN is ${universe}`);
    }
  });

export type GcpSettings = z.output<typeof settings>;

/** Where each service is called: as it is set, or by its name in the universe. */
export function endpointOf(config: GcpSettings, variable: keyof typeof services): string {
  return config[variable] ?? `https://${services[variable]}.${config.GOOGLE_CLOUD_UNIVERSE_DOMAIN}`;
}

/**
 * The provider is wanted as soon as one of these is set. `GOOGLE_CLOUD_PROJECT` is not among them: Google's
 * own machines set it for everybody.
 */
export const switchedOnBy = [
  'WRIT_GCP_SERVICE_ACCOUNTS',
  'WRIT_GCP_SHARED_SERVICE_ACCOUNTS',
  'WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER',
  'WRIT_GCP_AMBIENT_CREDENTIALS',
  'WRIT_GCP_TRANSPORT',
] as const;

function isSafeEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, pathname, search, hash, username } = new URL(text);
  if (pathname !== '/' || search !== '' || hash !== '' || username !== '') return false;
  return (
    protocol === 'https:' || (protocol === 'http:' && /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname))
  );
}
