-- Break-glass: what two people had given past a manifest's rules, for a short time, and its review.

-- CreateTable
CREATE TABLE "break_glass" (
    "id" TEXT NOT NULL,
    "agent" TEXT NOT NULL,
    "session_id" TEXT,
    "capabilities" JSONB NOT NULL,
    "reason" TEXT NOT NULL,
    "incident" TEXT NOT NULL,
    "seconds" INTEGER NOT NULL,
    "digest" TEXT NOT NULL,
    "requested_by" TEXT NOT NULL,
    "requester" JSONB NOT NULL,
    "requester_passkey" TEXT NOT NULL,
    "requester_evidence" JSONB NOT NULL,
    "requested_at" TIMESTAMPTZ(3) NOT NULL,
    "decide_by" TIMESTAMPTZ(3) NOT NULL,
    "proof" TEXT NOT NULL DEFAULT '',
    "status" TEXT NOT NULL,
    "approved_by" TEXT,
    "approver" JSONB,
    "approver_passkey" TEXT,
    "approver_evidence" JSONB,
    "approved_at" TIMESTAMPTZ(3),
    "expires_at" TIMESTAMPTZ(3),
    "approval_proof" TEXT NOT NULL DEFAULT '',
    "ended_at" TIMESTAMPTZ(3),
    "ended_how" TEXT,
    "ended_by" TEXT,
    "end_words" TEXT,
    "review_due_at" TIMESTAMPTZ(3),
    "reviewed_by" TEXT,
    "reviewer" JSONB,
    "reviewed_at" TIMESTAMPTZ(3),
    "review" TEXT,
    "review_proof" TEXT NOT NULL DEFAULT '',
    "reminded_at" TIMESTAMPTZ(3),

    CONSTRAINT "break_glass_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "break_glass_use" (
    "grant_id" TEXT NOT NULL,
    "break_glass_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "break_glass_use_pkey" PRIMARY KEY ("grant_id")
);

-- CreateIndex
CREATE INDEX "break_glass_status_idx" ON "break_glass"("status");

-- CreateIndex
CREATE INDEX "break_glass_use_break_glass_id_idx" ON "break_glass_use"("break_glass_id");

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "break_glass" ADD CONSTRAINT "break_glass_status_check" CHECK ("status" IN ('waiting', 'active', 'ended', 'reviewed', 'lapsed'));
ALTER TABLE "break_glass" ADD CONSTRAINT "break_glass_state_check" CHECK (
  ("status" IN ('active', 'ended', 'reviewed')) = ("approved_at" IS NOT NULL AND "expires_at" IS NOT NULL)
  AND ("status" IN ('ended', 'reviewed', 'lapsed')) = ("ended_at" IS NOT NULL AND "ended_how" IS NOT NULL)
  AND ("status" = 'reviewed') = ("reviewed_at" IS NOT NULL));

-- A row is changed and never removed: its review would be gone with it.
CREATE TRIGGER break_glass_kept BEFORE DELETE ON "break_glass" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER break_glass_no_truncate BEFORE TRUNCATE ON "break_glass" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER break_glass_use_append_only BEFORE UPDATE OR DELETE ON "break_glass_use" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER break_glass_use_no_truncate BEFORE TRUNCATE ON "break_glass_use" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();

-- An incident may be a break-glass, which need not be about one session.
ALTER TABLE "approval_outbox" DROP CONSTRAINT "approval_outbox_subject_check";
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_subject_check" CHECK (
  CASE WHEN "kind" = 'incident' THEN "grant_id" IS NULL AND "incident" IS NOT NULL AND ("session_id" IS NOT NULL OR "incident" ? 'break_glass')
       ELSE "grant_id" IS NOT NULL AND "session_id" IS NULL AND "incident" IS NULL END);
