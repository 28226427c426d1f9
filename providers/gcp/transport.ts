/** REST or gRPC, as WRIT_GCP_TRANSPORT says. */
import type { ObservedClock } from '../answer-date.ts';
import type { IamCredentials } from './iam-credentials.ts';
import { restIamCredentials } from './iam-credentials-rest.ts';
import { endpointOf, type GcpSettings } from './settings.ts';

export function iamCredentialsFor(config: GcpSettings, clock: ObservedClock): IamCredentials {
  const endpoint = endpointOf(config, 'WRIT_GCP_IAM_CREDENTIALS_ENDPOINT');
  if (config.WRIT_GCP_TRANSPORT === 'rest') return restIamCredentials(endpoint, clock);
  // Loaded at the first mint, because google-gax is heavy and most installations use REST.
  let grpc: Promise<IamCredentials> | undefined;
  return async (request, callerToken, signal) => {
    grpc ??= import('./iam-credentials-grpc.ts').then((module) => module.grpcIamCredentials(endpoint));
    return (await grpc)(request, callerToken, signal);
  };
}
