/** What an agent gets: the keys of one session, under the names of the AWS CLI's configuration. */
import { z } from 'zod';

export const awsCredential = z.strictObject({
  type: z.literal('aws'),
  access_key_id: z.string(),
  secret_access_key: z.string(),
  session_token: z.string(),
  expiration: z.iso.datetime().describe('When AWS accepts it no more.'),
  region: z.string().exactOptional().describe('Where the capability is bound to a region.'),
});
