-- A session may sleep while people decide: it holds nothing and can do nothing until its agent wakes it.

-- AlterTable
ALTER TABLE "session" ADD COLUMN     "resume_hash" TEXT,
ADD COLUMN     "slept" JSONB;

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "session" DROP CONSTRAINT "session_status_check";
ALTER TABLE "session" ADD CONSTRAINT "session_status_check" CHECK (
  CASE WHEN "status" IN ('active', 'suspended') THEN "ended_at" IS NULL AND "slept" IS NULL WHEN "status" = 'asleep' THEN "ended_at" IS NULL AND "slept" IS NOT NULL
       WHEN "status" = 'ended' THEN "ended_at" IS NOT NULL ELSE false END);

DROP INDEX "session_restrained_idx";
CREATE INDEX "session_restrained_idx" ON "session" ("id") WHERE "ended_at" IS NULL AND ("status" IN ('suspended', 'asleep') OR "withheld" <> '{}');
