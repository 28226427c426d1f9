-- AlterTable
ALTER TABLE "action" ADD COLUMN     "entities" JSONB NOT NULL DEFAULT '[]',
ADD COLUMN     "reported_cost_micro_usd" BIGINT;
