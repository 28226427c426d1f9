/** What an agent gets: an access token of a service account. */
import { z } from 'zod';

export const gcpCredential = z.strictObject({
  type: z.literal('gcp'),
  access_token: z.string(),
  token_type: z.literal('Bearer'),
  expires_at: z.iso.datetime().describe('When Google accepts it no more.'),
  service_account: z.string().describe('E-mail address of the account it is of.'),
  scopes: z.array(z.string()).describe('OAuth scopes.'),
  project_id: z.string().exactOptional().describe('Where the capability names a project.'),
});
