-- Whoever was told that a request waits is reminded once before its time is over.
ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_kind_check";
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_kind_check" CHECK ("kind" IN ('pending', 'escalated', 'reminder', 'settled', 'incident', 'digest'));
