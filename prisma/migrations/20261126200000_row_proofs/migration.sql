-- A row is not a right: what grants power carries a proof made with a key that is not in the database (broker/keys/row-proofs.ts), checked when it is read.
-- Rows of before have none, and give no right any more: people sign in again, sessions are opened again, requests that wait are asked again, a manifest
-- is published again, and the bootstrap token is made again (docs/operate.md).
ALTER TABLE "login" ADD COLUMN "proof" TEXT NOT NULL DEFAULT '';
ALTER TABLE "bootstrap" ADD COLUMN "proof" TEXT NOT NULL DEFAULT '';
ALTER TABLE "manifest" ADD COLUMN "proof" TEXT NOT NULL DEFAULT '';
ALTER TABLE "session" ADD COLUMN "proof" TEXT NOT NULL DEFAULT '';
ALTER TABLE "grants" ADD COLUMN "proof" TEXT NOT NULL DEFAULT '';
ALTER TABLE "review" ADD COLUMN "proof" TEXT NOT NULL DEFAULT '';
-- Until when a consent counts, whatever the grant's row says.
ALTER TABLE "review" ADD COLUMN "redeem_by" TIMESTAMPTZ(3);
