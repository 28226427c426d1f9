-- The provider's own words of the last failure, for admins; and a digest of the credential's secret parts, so that
-- no provider can give two live leases one credential.
ALTER TABLE "lease" ADD COLUMN "provider_text" TEXT, ADD COLUMN "credential_digest" TEXT;
CREATE UNIQUE INDEX "lease_credential_digest_key" ON "lease" ("credential_digest")
  WHERE "credential_digest" IS NOT NULL AND "status" IN ('active', 'revoking');
