-- Who a session is for and who started it: what is vouched for and what the agent says stand apart, and each name is of a kind.
-- Processes of before cannot run beside this: they write and read these columns as text.

-- Of the names of before nobody knows whether the platform or the agent said them: they are the agent's word, which bars and opens nothing.
ALTER TABLE "session" ADD COLUMN "declared_on_behalf_of" TEXT, ADD COLUMN "responsible" TEXT;
UPDATE "session" SET "declared_on_behalf_of" = "on_behalf_of", "on_behalf_of" = NULL WHERE "on_behalf_of" IS NOT NULL;
ALTER TABLE "session" ALTER COLUMN "on_behalf_of" TYPE JSONB USING NULL;
-- A name of no kind that is known is of a kind that nobody has: it can be compared with nothing, and bars everybody.
ALTER TABLE "session" ALTER COLUMN "started_by" TYPE JSONB USING CASE WHEN "started_by" IS NULL THEN NULL ELSE jsonb_build_object(
  'kind', CASE WHEN "started_by" LIKE '%@%' THEN 'email' ELSE 'unknown' END, 'value', regexp_replace("started_by", '^user:', ''), 'by', 'platform_token') END;

-- Two people approve where nobody knows who started the run: each approval moves this on, so that of two at once one reads again.
ALTER TABLE "grants" ADD COLUMN "approval_count" INTEGER NOT NULL DEFAULT 0;

-- A login's authority has a bound: everybody signs in again, and from then on the provider is asked again.
DELETE FROM "login";
ALTER TABLE "login" ADD COLUMN "checked_at" TIMESTAMPTZ(3) NOT NULL, ADD COLUMN "sealed" TEXT;

-- CreateTable
CREATE TABLE "account_name" (
    "issuer" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "first_seen" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "account_name_pkey" PRIMARY KEY ("issuer","subject","kind","value")
);
