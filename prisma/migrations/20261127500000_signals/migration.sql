-- Signals of the identity provider, and which names of an account it vouched for.

-- AlterTable
ALTER TABLE "account_name" ADD COLUMN     "proven_at" TIMESTAMPTZ(3);

-- CreateTable
CREATE TABLE "signal" (
    "set_key" TEXT NOT NULL,
    "event_type" TEXT NOT NULL,
    "jti" TEXT NOT NULL,
    "names" JSONB NOT NULL,
    "effect" TEXT NOT NULL,
    "received_at" TIMESTAMPTZ(3) NOT NULL,
    "due_at" TIMESTAMPTZ(3),

    CONSTRAINT "signal_pkey" PRIMARY KEY ("set_key","event_type")
);

-- CreateIndex
CREATE INDEX "signal_due_at_idx" ON "signal"("due_at");

-- CreateIndex
CREATE INDEX "signal_received_at_idx" ON "signal"("received_at");

-- CreateIndex
CREATE INDEX "account_name_kind_value_idx" ON "account_name"("kind", "value");

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "signal" ADD CONSTRAINT "signal_effect_check" CHECK ("effect" IN ('sign_off', 'sign_out', 'none'));
-- What does nothing is never due.
ALTER TABLE "signal" ADD CONSTRAINT "signal_due_check" CHECK ("effect" <> 'none' OR "due_at" IS NULL);

-- Of names that were remembered before, those that an admin's own claims gave were always vouched for. Of an e-mail nobody knows; the next sign-in says.
UPDATE "account_name" SET "proven_at" = "first_seen" WHERE "kind" NOT IN ('email', 'username');
