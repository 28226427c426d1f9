-- What a rule may do besides denying: ask a person about a call, freeze a session, narrow it.

ALTER TABLE "session" ADD COLUMN "withheld" TEXT[] NOT NULL DEFAULT ARRAY[]::TEXT[];

ALTER TABLE "grants" ADD COLUMN "sealed_arguments" TEXT;

-- Sessions that may do nothing, or less than their manifest says: what they still hold is ended: the process that froze them may have died.
CREATE INDEX "session_restrained_idx" ON "session" ("id") WHERE "ended_at" IS NULL AND ("status" = 'suspended' OR "withheld" <> '{}');

ALTER TABLE "session" DROP CONSTRAINT "session_status_check";
ALTER TABLE "session" ADD CONSTRAINT "session_status_check" CHECK (
  CASE WHEN "status" IN ('active', 'suspended') THEN "ended_at" IS NULL WHEN "status" = 'ended' THEN "ended_at" IS NOT NULL ELSE false END);
