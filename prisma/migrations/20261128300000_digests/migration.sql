-- Once a day approvers are told what was decided in their name: such a notice is about no grant and no session.

-- AlterTable
ALTER TABLE "approval_outbox" ADD COLUMN     "digest" JSONB;

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_kind_check";
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_kind_check" CHECK ("kind" IN ('pending', 'escalated', 'settled', 'incident', 'digest'));
ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_subject_check";
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_subject_check" CHECK (
  CASE "kind" WHEN 'incident' THEN "grant_id" IS NULL AND "incident" IS NOT NULL AND "digest" IS NULL AND ("session_id" IS NOT NULL OR "incident" ? 'break_glass')
              WHEN 'digest' THEN "grant_id" IS NULL AND "session_id" IS NULL AND "incident" IS NULL AND "digest" IS NOT NULL
              ELSE "grant_id" IS NOT NULL AND "session_id" IS NULL AND "incident" IS NULL AND "digest" IS NULL END);
