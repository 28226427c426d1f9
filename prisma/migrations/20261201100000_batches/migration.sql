-- Grants of one task that people decide on together. What they agree to stands in the batch's own row, under its proof;
-- this column only leads there.

-- AlterTable
ALTER TABLE "grants" ADD COLUMN     "batch_id" TEXT;

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

CREATE INDEX "grants_batch_id_idx" ON "grants" ("batch_id") WHERE "batch_id" IS NOT NULL;
