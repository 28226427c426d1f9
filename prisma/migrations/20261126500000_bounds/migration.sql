-- Bounds that hold over processes, and ends that come at once.

-- What an agent has asked for and opened in all, each numbered: the number of the newest less that of the oldest in the last
-- minute is the rate. Numbered under the lock of the agent's row, and only where a rate is limited.
ALTER TABLE "agent" ADD COLUMN "asked" BIGINT NOT NULL DEFAULT 0;
ALTER TABLE "agent" ADD COLUMN "opened" BIGINT NOT NULL DEFAULT 0;
ALTER TABLE "grants" ADD COLUMN "agent_seq" BIGINT;
ALTER TABLE "session" ADD COLUMN "agent_seq" BIGINT;

-- Version against which what the agent holds was last held; behind `version`, a worker looks again.
ALTER TABLE "agent" ADD COLUMN "rechecked_version" INTEGER NOT NULL DEFAULT 0;
UPDATE "agent" SET "rechecked_version" = "version";

-- A key that signs and verifies no more, from that moment on.
ALTER TABLE "signing_key" ADD COLUMN "withdrawn_at" TIMESTAMPTZ(3);

-- The bootstrap token ends when the first admin signs in.
ALTER TABLE "bootstrap" ADD COLUMN "expired_at" TIMESTAMPTZ(3);

-- The caller's text under which a request is repeated is kept as its digest: it may be a token sent by mistake.
UPDATE "grants" SET "idempotency_key" = 'sha256:' || encode(sha256(convert_to("idempotency_key", 'UTF8')), 'hex') WHERE "idempotency_key" <> "id";
