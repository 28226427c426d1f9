-- AlterTable
ALTER TABLE "grants" ADD COLUMN     "asked_moves" TEXT[] DEFAULT ARRAY[]::TEXT[],
ADD COLUMN     "redeemed_moves" JSONB NOT NULL DEFAULT '[]';
