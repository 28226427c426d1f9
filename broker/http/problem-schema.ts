/** The refusals as schemas: every member that a problem document may have. */
import { z } from 'zod';
import { type ErrorCode, errorTable } from '../core/errors.ts';
import { codesOf, decisionReasons } from '../core/reasons.ts';
import { lockLevels } from '../core/vocabulary.ts';
import { named } from './named-schemas.ts';

export const reasonSchema = z.object({
  code: z.enum(codesOf(decisionReasons)),
  policy_id: z.string().optional(),
  path: z.string().optional(),
  advice: z.string().optional(),
});

const members = {
  type: z.string().meta({ format: 'uri' }),
  title: z.string(),
  status: z.int(),
  code: z.enum(Object.keys(errorTable) as ErrorCode[]),
  detail: z.string().optional(),
  request_id: z.string(),
  errors: z
    .array(
      z.object({
        path: z.string().describe('The field; empty for the whole.'),
        message: z.string(),
        line: z.int().optional(),
        column: z.int().optional(),
      }),
    )
    .optional(),
  retry_after_seconds: z.number().optional().describe('The header `Retry-After` once more.'),
  reasons: z.array(reasonSchema).optional().describe('Of a denial: what denied it.'),
  nearest: z
    .object({ capability: z.string(), params: z.record(z.string(), z.unknown()), ttl_seconds: z.int() })
    .optional()
    .describe('Of a denial: the nearest request that policy alone would allow.'),
  level: z.enum(lockLevels).optional().describe('Of `locked`: what is locked.'),
  grant_id: z.string().optional().describe('The grant that it is about.'),
  grant_status: z.string().optional().describe('Where a credential was not minted: the grant’s status now.'),
  redeem_by: z.string().optional().describe('The approval stands: redeem again until then.'),
  provider_code: z.string().optional().describe('The provider’s own word for its refusal.'),
};

export const problemSchema = named(
  'Problem',
  z.object(members).describe('RFC 9457. `code` is stable; `type` leads to its page.'),
);

/** What the OAuth endpoints answer instead (RFC 6749 section 5.2). */
export const oauthErrorSchema = named(
  'OAuthError',
  z
    .object({
      error: z.string().describe('The word that OAuth clients decide by.'),
      error_description: z.string(),
      ...members,
    })
    .describe('RFC 6749 section 5.2, with the members of a problem besides.'),
);
