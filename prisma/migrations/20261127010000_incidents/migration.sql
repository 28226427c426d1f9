-- People are told of what happened in a session, too: such a notice is about no grant.

-- DropForeignKey
ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_grant_id_fkey";

-- AlterTable
ALTER TABLE "approval_outbox" ADD COLUMN     "incident" JSONB,
ADD COLUMN     "session_id" TEXT,
ALTER COLUMN "grant_id" DROP NOT NULL;

-- AddForeignKey
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_grant_id_fkey" FOREIGN KEY ("grant_id") REFERENCES "grants"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_session_id_fkey" FOREIGN KEY ("session_id") REFERENCES "session"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_kind_check";
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_kind_check" CHECK ("kind" IN ('pending', 'incident'));
-- A notice is about a grant, or about an incident in a session.
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_subject_check" CHECK (
  CASE WHEN "kind" = 'incident' THEN "grant_id" IS NULL AND "session_id" IS NOT NULL AND "incident" IS NOT NULL
       ELSE "grant_id" IS NOT NULL AND "session_id" IS NULL AND "incident" IS NULL END);
