-- Whom the identity provider confirmed last, and when: what a sign-in with a passkey goes by while it does not answer.

-- CreateTable
CREATE TABLE "confirmed_person" (
    "issuer" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "identity" JSONB NOT NULL,
    "confirmed_at" TIMESTAMPTZ(3) NOT NULL,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "confirmed_person_pkey" PRIMARY KEY ("issuer","subject")
);
