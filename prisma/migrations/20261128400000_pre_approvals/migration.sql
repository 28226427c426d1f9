-- What a person approves ahead of time, within bounds, and each time that it was used.

-- CreateTable
CREATE TABLE "pre_approval" (
    "id" TEXT NOT NULL,
    "agent" TEXT NOT NULL,
    "task_type" TEXT NOT NULL,
    "capability" TEXT NOT NULL,
    "bounds" JSONB NOT NULL,
    "max_uses" INTEGER NOT NULL,
    "max_ttl_seconds" INTEGER NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,
    "terms" TEXT NOT NULL,
    "groups" TEXT[],
    "from_grant" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "giver" JSONB NOT NULL,
    "given_by" TEXT NOT NULL,
    "given_at" TIMESTAMPTZ(3) NOT NULL,
    "used_count" INTEGER NOT NULL DEFAULT 0,
    "ended_at" TIMESTAMPTZ(3),
    "end_reason" TEXT,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "pre_approval_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "pre_approval_use" (
    "pre_approval_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "grant_id" TEXT NOT NULL,
    "session_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "pre_approval_use_pkey" PRIMARY KEY ("pre_approval_id","number")
);

-- CreateIndex
CREATE INDEX "pre_approval_agent_capability_idx" ON "pre_approval"("agent", "capability");

-- CreateIndex
CREATE INDEX "pre_approval_given_at_idx" ON "pre_approval"("given_at");

-- CreateIndex
CREATE UNIQUE INDEX "pre_approval_use_grant_id_pre_approval_id_key" ON "pre_approval_use"("grant_id", "pre_approval_id");

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "pre_approval" ADD CONSTRAINT "pre_approval_uses_check" CHECK ("max_uses" > 0 AND "used_count" BETWEEN 0 AND "max_uses");
ALTER TABLE "pre_approval" ADD CONSTRAINT "pre_approval_ended_check" CHECK (("ended_at" IS NULL) = ("end_reason" IS NULL));
ALTER TABLE "pre_approval_use" ADD CONSTRAINT "pre_approval_use_number_check" CHECK ("number" > 0);
CREATE INDEX "pre_approval_giver_idx" ON "pre_approval" (("giver" ->> 'issuer'), ("giver" ->> 'subject')) WHERE "ended_at" IS NULL;
-- What was used stays used.
CREATE TRIGGER pre_approval_use_append_only BEFORE UPDATE OR DELETE ON "pre_approval_use" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER pre_approval_use_no_truncate BEFORE TRUNCATE ON "pre_approval_use" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();
