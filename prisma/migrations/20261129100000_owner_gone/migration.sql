-- Owners of agents that the identity provider said are gone, or back.

-- AlterTable
ALTER TABLE "agent" ADD COLUMN     "owner_gone" TEXT,
ADD COLUMN     "stopped_owner" TEXT;

-- CreateTable
CREATE TABLE "owner_presence" (
    "owner" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "gone" BOOLEAN NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "signal" TEXT NOT NULL,
    "event" TEXT NOT NULL,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "owner_presence_pkey" PRIMARY KEY ("owner","number","proof")
);

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

-- Only added to: whoever can write rows can say that more owners are gone. That one is back counts by its proof alone.
CREATE TRIGGER owner_presence_append_only BEFORE UPDATE OR DELETE ON "owner_presence" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER owner_presence_no_truncate BEFORE TRUNCATE ON "owner_presence" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();

ALTER TABLE "signal" DROP CONSTRAINT "signal_effect_check";
ALTER TABLE "signal" ADD CONSTRAINT "signal_effect_check" CHECK ("effect" IN ('sign_off', 'sign_off_owner', 'sign_out', 'owner_back', 'none'));

-- An incident may be about an agent, and no session of it.
ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_subject_check";
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_subject_check" CHECK (
  CASE "kind" WHEN 'incident' THEN "grant_id" IS NULL AND "incident" IS NOT NULL AND "digest" IS NULL
                                   AND ("session_id" IS NOT NULL OR "incident" ? 'break_glass' OR ("incident" #>> '{happening,what}') IS NOT DISTINCT FROM 'owner_gone')
              WHEN 'digest' THEN "grant_id" IS NULL AND "session_id" IS NULL AND "incident" IS NULL AND "digest" IS NOT NULL
              ELSE "grant_id" IS NOT NULL AND "session_id" IS NULL AND "incident" IS NULL AND "digest" IS NULL END);
