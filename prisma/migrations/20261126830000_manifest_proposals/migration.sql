-- Versions of manifests that allow more, and wait for another admin (WRIT_MANIFEST_REVIEW).

CREATE TABLE "manifest_proposal" (
    "id" TEXT NOT NULL,
    "agent" TEXT NOT NULL,
    "base_version" INTEGER NOT NULL,
    "source" TEXT NOT NULL,
    "sha256" TEXT NOT NULL,
    "author" TEXT NOT NULL,
    "proposer" JSONB NOT NULL,
    "reason" TEXT NOT NULL,
    "proposed_at" TIMESTAMPTZ(3) NOT NULL,
    "status" TEXT NOT NULL,
    "decided_by" TEXT,
    "decided_at" TIMESTAMPTZ(3),
    "decision_reason" TEXT,
    "version" INTEGER,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "manifest_proposal_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "manifest_proposal_agent_version_idx" ON "manifest_proposal"("agent", "version");

-- The same proposal is made once, however many brokers start with the same folder.
CREATE UNIQUE INDEX "manifest_proposal_open_idx" ON "manifest_proposal" ("agent", "base_version", "sha256") WHERE "status" = 'proposed';
