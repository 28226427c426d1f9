-- Passkeys of people, how a login was made, and what is kept of the assertion that a review was given with.

-- AlterTable
ALTER TABLE "login" ADD COLUMN     "method" TEXT NOT NULL DEFAULT 'oidc';

-- AlterTable
ALTER TABLE "review" ADD COLUMN     "evidence" JSONB;

-- CreateTable
CREATE TABLE "passkey" (
    "id" TEXT NOT NULL,
    "issuer" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "credential_id" TEXT NOT NULL,
    "public_key" TEXT NOT NULL,
    "sign_count" DOUBLE PRECISION NOT NULL,
    "transports" JSONB NOT NULL,
    "name" TEXT NOT NULL,
    "backed_up" BOOLEAN NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "last_used_at" TIMESTAMPTZ(3),
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "passkey_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "passkey_credential_id_key" ON "passkey"("credential_id");

-- CreateIndex
CREATE INDEX "passkey_issuer_subject_idx" ON "passkey"("issuer", "subject");

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "login" ADD CONSTRAINT "login_method_check" CHECK ("method" IN ('oidc', 'fresh_oidc', 'passkey'));
