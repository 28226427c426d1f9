-- What an Idempotency-Key of an access request was used for.
CREATE TABLE "access_request_key" (
    "session_id" TEXT NOT NULL,
    "key_digest" TEXT NOT NULL,
    "request_digest" TEXT NOT NULL,
    "forget_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "access_request_key_pkey" PRIMARY KEY ("session_id","key_digest")
);

CREATE INDEX "access_request_key_forget_at_idx" ON "access_request_key"("forget_at");
