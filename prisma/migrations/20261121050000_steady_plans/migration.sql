-- What every grant writes, made cheaper, and plans that do not hang on statistics: a fresh database has none, a prepared statement keeps the plan it was
-- given there, and an index that looked tiny then is walked from end to end later (`id = … AND status = 'active'` used to go through all live sessions).

-- One check a table says what each state implies; the server reads a check anew for every statement that writes.
ALTER TABLE "session" DROP CONSTRAINT "session_status_check";
ALTER TABLE "session" ADD CONSTRAINT "session_status_check" CHECK (
  CASE "status" WHEN 'active' THEN "ended_at" IS NULL WHEN 'ended' THEN "ended_at" IS NOT NULL ELSE false END);
ALTER TABLE "grants" DROP CONSTRAINT "grants_status_check";
ALTER TABLE "grants" ADD CONSTRAINT "grants_status_check" CHECK (
  CASE WHEN "status" IN ('pending', 'approved', 'issuing', 'issued') THEN "ended_at" IS NULL
       WHEN "status" IN ('denied', 'failed', 'ended') THEN "ended_at" IS NOT NULL ELSE false END);
-- An open lease is always due some time; what revocation needed is wiped in the very statement that ends it (invariant 6), whatever code runs it.
ALTER TABLE "lease" DROP CONSTRAINT "lease_status_check", DROP CONSTRAINT "lease_wiped_when_ended";
ALTER TABLE "lease" ADD CONSTRAINT "lease_status_check" CHECK (
  CASE WHEN "status" IN ('issuing', 'active', 'revoking') THEN "ended_at" IS NULL AND "due_at" IS NOT NULL
       WHEN "status" IN ('revoked', 'expired', 'failed') THEN "ended_at" IS NOT NULL AND "due_at" IS NULL AND "sealed" IS NULL ELSE false END);

-- The indexes of what is open hang on columns that no statement mentions which looks up a row by its id: none is tempted.
DROP INDEX "session_active_idx";
CREATE INDEX "session_open_idx" ON "session" (LEAST("expires_at", "heartbeat_deadline")) WHERE "ended_at" IS NULL;
-- Sessions that have ended and may still hold something: few, and all that a sweep looks at.
ALTER TABLE "session" ADD COLUMN "released_at" TIMESTAMPTZ(3);
CREATE INDEX "session_unreleased_idx" ON "session" ("ended_at") WHERE "ended_at" IS NOT NULL AND "released_at" IS NULL;
DROP INDEX "grants_status_decide_by_idx";
CREATE INDEX "grants_undecided_idx" ON "grants" ("decide_by") WHERE "decide_by" IS NOT NULL AND "ended_at" IS NULL;
-- Open leases are found by `due_at`, a session's by `session_id`.
DROP INDEX "lease_live_idx";
DROP INDEX "lease_provider_writer_status_idx";
CREATE INDEX "lease_writer_idx" ON "lease" ("provider", "writer", "status") WHERE "writer" IS NOT NULL;

-- A grant's and a lease's events are in their session's chain. Events come in order of time, so that ranges of blocks are index enough.
DROP INDEX "audit_event_grant_id_idx";
DROP INDEX "audit_event_lease_id_idx";
DROP INDEX "audit_event_at_idx";
CREATE INDEX "audit_event_at_idx" ON "audit_event" USING brin ("at");

-- The chain's head moves in one statement: the hash before it is kept next to it. The function is STABLE, as the to_char in it is, so that it becomes part of
-- that statement's plan instead of being planned anew for every row.
ALTER TABLE "audit_chain" ADD COLUMN "previous" TEXT NOT NULL DEFAULT '';
ALTER FUNCTION writ_audit_hash(text, text, integer, timestamptz, text, text, text, text, text, json) STABLE;
CREATE OR REPLACE FUNCTION writ_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    UPDATE audit_chain SET seq = seq + 1, previous = head,
           head = writ_audit_hash(head, chain, seq + 1, NEW.at, NEW.type, NEW.actor, NEW.grant_id, NEW.lease_id, NEW.request_id, NEW.payload)
    WHERE chain = NEW.chain RETURNING seq, previous, head INTO NEW.seq, NEW.prev_hash, NEW.hash;
    IF FOUND THEN RETURN NEW; END IF;
    INSERT INTO audit_chain (chain, seq, head) VALUES (NEW.chain, 0, '') ON CONFLICT (chain) DO NOTHING;
  END LOOP;
END $$;

-- Roots have no parent to be found by; and nothing reads sessions by principal yet.
DROP INDEX "session_parent_id_idx";
CREATE INDEX "session_parent_id_idx" ON "session" ("parent_id") WHERE "parent_id" IS NOT NULL;
DROP INDEX "session_principal_root_opened_at_idx";

-- Of the sessions of before, those that still hold something are left to the sweep.
UPDATE "session" s SET "released_at" = s."ended_at"
WHERE s."status" = 'ended' AND NOT EXISTS (SELECT 1 FROM "lease" l WHERE l."session_id" = s."id" AND l."status" IN ('issuing', 'active'))
  AND NOT EXISTS (SELECT 1 FROM "grants" g WHERE g."session_id" = s."id" AND g."ended_at" IS NULL);
