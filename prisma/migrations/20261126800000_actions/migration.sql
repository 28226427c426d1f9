-- Tool calls, and what is remembered of them: decisions look at the memory, never at the calls.

CREATE TABLE "action" (
    "id" TEXT NOT NULL,
    "session_id" TEXT NOT NULL,
    "root_id" TEXT NOT NULL,
    "agent" TEXT NOT NULL,
    "tool" TEXT NOT NULL,
    "arguments" JSONB NOT NULL,
    "call_key" TEXT NOT NULL,
    "request_digest" TEXT NOT NULL,
    "effect" TEXT NOT NULL,
    "decision" JSONB NOT NULL,
    "manifest_version" INTEGER NOT NULL,
    "cost_micro_usd" BIGINT NOT NULL,
    "awaited" JSONB NOT NULL,
    "asked_moves" TEXT[],
    "outcome_moves" TEXT[],
    "asked_at" TIMESTAMPTZ(3) NOT NULL,
    "outcome" TEXT,
    "labels" TEXT[],
    "output_digest" TEXT,
    "finished_at" TIMESTAMPTZ(3),

    CONSTRAINT "action_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "monitor_cell" (
    "scope" TEXT NOT NULL,
    "cell" TEXT NOT NULL,
    "state" JSONB,
    "version" INTEGER NOT NULL,
    "moved_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "monitor_cell_pkey" PRIMARY KEY ("scope","cell")
);

CREATE UNIQUE INDEX "action_session_id_call_key_key" ON "action"("session_id", "call_key");

-- What waits for a report: looked through when sessions end.
CREATE INDEX "action_open_idx" ON "action" ("session_id") WHERE "outcome" IS NULL AND "effect" = 'allow';

-- Of a session that must end, why: the process that found out may have died.
CREATE INDEX "action_terminate_idx" ON "action" ("root_id") WHERE "effect" = 'terminate';

-- Undoes the whole statement that finds the world not as it was looked at: as a serialisation failure, after which the same is tried anew.
CREATE FUNCTION writ_moved_on() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'writ: moved on' USING ERRCODE = 'serialization_failure';
END $$;
