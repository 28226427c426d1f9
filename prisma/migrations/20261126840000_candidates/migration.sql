-- A manifest that decides beside the one in force, without effect: one an agent.
CREATE TABLE "manifest_candidate" (
    "agent" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "source" TEXT NOT NULL,
    "sha256" TEXT NOT NULL,
    "author" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "published_at" TIMESTAMPTZ(3) NOT NULL,
    "withdrawn_at" TIMESTAMPTZ(3),

    CONSTRAINT "manifest_candidate_pkey" PRIMARY KEY ("agent")
);

-- What only the candidate remembers. Apart from monitor_cell, so that no decision ever reads it.
CREATE TABLE "shadow_cell" (
    "agent" TEXT NOT NULL,
    "scope" TEXT NOT NULL,
    "cell" TEXT NOT NULL,
    "candidate" INTEGER NOT NULL,
    "state" JSONB,
    "version" INTEGER NOT NULL,

    CONSTRAINT "shadow_cell_pkey" PRIMARY KEY ("agent","scope","cell")
);

CREATE TABLE "shadow_difference" (
    "agent" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "candidate" INTEGER NOT NULL,
    "kind" TEXT NOT NULL,
    "session_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "name" TEXT NOT NULL,
    "was" JSONB NOT NULL,
    "now" JSONB NOT NULL,
    "because" TEXT[],

    CONSTRAINT "shadow_difference_pkey" PRIMARY KEY ("agent","id")
);

CREATE INDEX "shadow_difference_agent_at_idx" ON "shadow_difference"("agent", "at");

-- What a replay reads: calls of a time.
CREATE INDEX "action_asked_at_idx" ON "action" USING brin ("asked_at");
