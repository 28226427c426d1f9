-- What people are to be told about a grant, a row a channel: written in the statement that makes it so, delivered afterwards.

-- CreateTable
CREATE TABLE "approval_outbox" (
    "id" TEXT NOT NULL,
    "grant_id" TEXT NOT NULL,
    "channel" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "due_at" TIMESTAMPTZ(3),
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "delivered_at" TIMESTAMPTZ(3),
    "last_error" TEXT,

    CONSTRAINT "approval_outbox_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "approval_outbox_channel_due_at_idx" ON "approval_outbox"("channel", "due_at") WHERE "due_at" IS NOT NULL;

-- CreateIndex
CREATE UNIQUE INDEX "approval_outbox_grant_id_channel_kind_key" ON "approval_outbox"("grant_id", "channel", "kind");

-- AddForeignKey
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_grant_id_fkey" FOREIGN KEY ("grant_id") REFERENCES "grants"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_kind_check" CHECK ("kind" IN ('pending'));
-- What was delivered is due no more, and was claimed first.
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_state_check" CHECK (
  "attempts" >= 0 AND ("delivered_at" IS NULL OR ("due_at" IS NULL AND "attempts" > 0)));
-- A code, not a text: what a channel's other side says may hold anything.
ALTER TABLE "approval_outbox" ADD CONSTRAINT "approval_outbox_error_check" CHECK ("last_error" ~ '^[a-z_]{1,32}$');
