-- AlterTable
ALTER TABLE "lease" ADD COLUMN     "marks" TEXT[] DEFAULT ARRAY[]::TEXT[];

-- Credentials that still work, by pieces of them.
CREATE INDEX "lease_marks_idx" ON "lease" USING gin ("marks") WHERE cardinality("marks") > 0;
