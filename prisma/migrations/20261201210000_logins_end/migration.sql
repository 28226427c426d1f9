-- A login ends when nobody used it for a while, and with the configuration of the identity provider under which it was made.

-- AlterTable
ALTER TABLE "login" ADD COLUMN     "idp" TEXT,
ADD COLUMN     "seen_at" TIMESTAMPTZ(3),
ADD COLUMN     "seen_proof" TEXT NOT NULL DEFAULT '';
