-- What Writ signals to the receivers of event streams (OpenID Shared Signals).

-- CreateTable
CREATE TABLE "stream_event" (
    "stream" TEXT NOT NULL,
    "jti" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "about" TEXT NOT NULL,
    "reason" TEXT,
    "number" INTEGER NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "stream_event_pkey" PRIMARY KEY ("stream","jti")
);

-- CreateTable
CREATE TABLE "event_stream" (
    "name" TEXT NOT NULL,
    "held_by" TEXT NOT NULL,
    "held_until" TIMESTAMPTZ(3) NOT NULL,
    "due_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "event_stream_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "told_suspension" (
    "stream" TEXT NOT NULL,
    "about" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "suspended" BOOLEAN NOT NULL,

    CONSTRAINT "told_suspension_pkey" PRIMARY KEY ("stream","about")
);

-- CreateIndex
CREATE INDEX "stream_event_stream_at_idx" ON "stream_event"("stream", "at");

-- CreateIndex
CREATE INDEX "stream_event_stream_about_number_idx" ON "stream_event"("stream", "about", "number");

-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "stream_event" ADD CONSTRAINT "stream_event_type_check" CHECK ("type" IN ('session-revoked', 'risk-level-change', 'account-disabled', 'account-enabled', 'verification'));
