-- People are told how it ended, too, and told again when nobody answers; where a message went is kept, so that it can be rewritten.

-- AlterTable
ALTER TABLE "approval_outbox" ADD COLUMN     "reference" TEXT;

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

-- A kind is a word; which there are, approvals/contract.ts says.
ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_kind_check";
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_kind_check" CHECK ("kind" IN ('pending', 'escalated', 'settled', 'incident'));
-- Small: where the message is, never what it says.
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_reference_check" CHECK (length("reference") <= 1000);
