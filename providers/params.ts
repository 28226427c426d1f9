/**
 * The parameters that each provider takes, by its name, without the provider: what manifests are checked
 * against where no broker runs. To add one: its line here and in registry.ts; the compiler refuses one
 * without the other.
 */
import { advise as awsAdvise, awsParams } from './aws/params.ts';
import { advise as gcpAdvise, params as gcpParams } from './gcp/params.ts';
import { advise as githubAdvise, params as githubParams } from './github/params.ts';
import { params as postgresParams } from './postgres/params.ts';

export const providerParams = { aws: awsParams, gcp: gcpParams, github: githubParams, postgres: postgresParams };

/** What each says besides of parameters that it takes. */
export const providerAdvice = { aws: awsAdvise, gcp: gcpAdvise, github: githubAdvise };
