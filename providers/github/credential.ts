/** What an agent gets: an installation's token. */
import { z } from 'zod';

export const githubCredential = z.strictObject({
  type: z.literal('github'),
  token: z.string().describe('For `Authorization: Bearer …`, and as the password of git over HTTPS.'),
  api_url: z.string().describe('Base of the REST API that the token is for.'),
  expires_at: z.iso.datetime().describe('When Writ ends it; GitHub itself would let it live for an hour.'),
});
