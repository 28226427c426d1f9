-- CreateTable
CREATE TABLE "manifest" (
    "agent" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "source" TEXT NOT NULL,
    "sha256" TEXT NOT NULL,
    "author" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "compiled" JSON NOT NULL,
    "published_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "manifest_pkey" PRIMARY KEY ("agent","version")
);

-- CreateTable
CREATE TABLE "agent" (
    "name" TEXT NOT NULL,
    "version" INTEGER NOT NULL,

    CONSTRAINT "agent_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "session" (
    "id" TEXT NOT NULL,
    "agent" TEXT NOT NULL,
    "manifest_version" INTEGER NOT NULL,
    "parent_id" TEXT,
    "root_id" TEXT NOT NULL,
    "task_type" TEXT NOT NULL,
    "inputs" JSONB NOT NULL,
    "on_behalf_of" TEXT,
    "started_by" TEXT,
    "principal_root" TEXT NOT NULL,
    "capabilities" TEXT[],
    "narrowed" BOOLEAN NOT NULL DEFAULT false,
    "subject" JSONB NOT NULL,
    "dpop_jkt" TEXT,
    "status" TEXT NOT NULL,
    "end_reason" TEXT,
    "max_grants" INTEGER,
    "grant_count" INTEGER NOT NULL DEFAULT 0,
    "child_count" INTEGER NOT NULL DEFAULT 0,
    "opened_at" TIMESTAMPTZ(3) NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "heartbeat_deadline" TIMESTAMPTZ(3) NOT NULL,
    "ended_at" TIMESTAMPTZ(3),
    "version" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "session_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "grants" (
    "id" TEXT NOT NULL,
    "session_id" TEXT NOT NULL,
    "agent" TEXT NOT NULL,
    "capability" TEXT NOT NULL,
    "idempotency_key" TEXT NOT NULL,
    "request_digest" TEXT NOT NULL,
    "params" JSONB NOT NULL,
    "justification" TEXT,
    "credential_jwk" JSONB,
    "manifest_version" INTEGER NOT NULL,
    "provider" TEXT NOT NULL,
    "plan" JSONB NOT NULL,
    "plan_digest" TEXT NOT NULL,
    "tier" INTEGER NOT NULL,
    "status" TEXT NOT NULL,
    "decision" JSONB NOT NULL,
    "decision_jws" TEXT,
    "requested_at" TIMESTAMPTZ(3) NOT NULL,
    "decide_by" TIMESTAMPTZ(3),
    "decided_at" TIMESTAMPTZ(3),
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "grants_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "review" (
    "id" TEXT NOT NULL,
    "grant_id" TEXT NOT NULL,
    "reviewer" JSONB NOT NULL,
    "verdict" TEXT NOT NULL,
    "plan_digest" TEXT NOT NULL,
    "consented_digest" TEXT NOT NULL,
    "reason" TEXT,
    "channel" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "review_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "lease" (
    "id" TEXT NOT NULL,
    "grant_id" TEXT NOT NULL,
    "session_id" TEXT NOT NULL,
    "agent" TEXT NOT NULL,
    "provider" TEXT NOT NULL,
    "plan" JSONB NOT NULL,
    "plan_digest" TEXT NOT NULL,
    "status" TEXT NOT NULL,
    "reserved" TEXT,
    "writer" TEXT,
    "handle" JSONB,
    "sealed" TEXT,
    "intent_at" TIMESTAMPTZ(3) NOT NULL,
    "issued_at" TIMESTAMPTZ(3),
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "provider_expires_at" TIMESTAMPTZ(3) NOT NULL,
    "due_at" TIMESTAMPTZ(3),
    "prune_at" TIMESTAMPTZ(3),
    "settling_since" TIMESTAMPTZ(3),
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "revoke_reason" TEXT,
    "last_error" TEXT,
    "evidence" JSONB,
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "lease_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "pool_slot" (
    "provider" TEXT NOT NULL,
    "member" TEXT NOT NULL,
    "lease_id" TEXT NOT NULL,
    "release_after" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "pool_slot_pkey" PRIMARY KEY ("provider","member")
);

-- CreateTable
CREATE TABLE "writer_lock" (
    "key" TEXT NOT NULL,
    "holder" TEXT NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "writer_lock_pkey" PRIMARY KEY ("key")
);

-- CreateTable
CREATE TABLE "signing_key" (
    "kid" TEXT NOT NULL,
    "public_jwk" JSONB NOT NULL,
    "private_jwe" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "active_from" TIMESTAMPTZ(3) NOT NULL,
    "retired_at" TIMESTAMPTZ(3),

    CONSTRAINT "signing_key_pkey" PRIMARY KEY ("kid")
);

-- CreateTable
CREATE TABLE "replay" (
    "key" TEXT NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "replay_pkey" PRIMARY KEY ("key")
);

-- CreateTable
CREATE TABLE "login" (
    "token_hash" TEXT NOT NULL,
    "identity" JSONB NOT NULL,
    "csrf" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "login_pkey" PRIMARY KEY ("token_hash")
);

-- CreateTable
CREATE TABLE "bootstrap" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "token_hash" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "bootstrap_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit_event" (
    "chain" TEXT NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "type" TEXT NOT NULL,
    "actor" TEXT NOT NULL,
    "grant_id" TEXT,
    "lease_id" TEXT,
    "request_id" TEXT,
    "payload" JSON NOT NULL,
    "prev_hash" TEXT NOT NULL DEFAULT '',
    "hash" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "audit_event_pkey" PRIMARY KEY ("chain","seq")
);

-- CreateTable
CREATE TABLE "audit_chain" (
    "chain" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "head" TEXT NOT NULL,

    CONSTRAINT "audit_chain_pkey" PRIMARY KEY ("chain")
);

-- CreateIndex
CREATE INDEX "manifest_agent_published_at_idx" ON "manifest"("agent", "published_at");

-- CreateIndex
CREATE INDEX "session_parent_id_idx" ON "session"("parent_id");

-- CreateIndex
CREATE INDEX "session_root_id_idx" ON "session"("root_id");

-- CreateIndex
CREATE INDEX "session_agent_opened_at_idx" ON "session"("agent", "opened_at");

-- CreateIndex
CREATE INDEX "session_principal_root_opened_at_idx" ON "session"("principal_root", "opened_at");

-- CreateIndex
CREATE INDEX "grants_agent_requested_at_idx" ON "grants"("agent", "requested_at");

-- CreateIndex
CREATE INDEX "grants_status_decide_by_idx" ON "grants"("status", "decide_by");

-- CreateIndex
CREATE UNIQUE INDEX "grants_session_id_idempotency_key_key" ON "grants"("session_id", "idempotency_key");

-- CreateIndex
CREATE INDEX "review_grant_id_idx" ON "review"("grant_id");

-- CreateIndex
CREATE INDEX "lease_due_at_idx" ON "lease"("due_at");

-- CreateIndex
CREATE INDEX "lease_session_id_idx" ON "lease"("session_id");

-- CreateIndex
CREATE INDEX "lease_grant_id_idx" ON "lease"("grant_id");

-- CreateIndex
CREATE INDEX "lease_provider_writer_status_idx" ON "lease"("provider", "writer", "status");

-- CreateIndex
CREATE INDEX "pool_slot_release_after_idx" ON "pool_slot"("release_after");

-- CreateIndex
CREATE INDEX "replay_expires_at_idx" ON "replay"("expires_at");

-- CreateIndex
CREATE INDEX "audit_event_at_idx" ON "audit_event"("at");

-- CreateIndex
CREATE INDEX "audit_event_grant_id_idx" ON "audit_event"("grant_id");

-- CreateIndex
CREATE INDEX "audit_event_lease_id_idx" ON "audit_event"("lease_id");

-- AddForeignKey
ALTER TABLE "grants" ADD CONSTRAINT "grants_session_id_fkey" FOREIGN KEY ("session_id") REFERENCES "session"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "review" ADD CONSTRAINT "review_grant_id_fkey" FOREIGN KEY ("grant_id") REFERENCES "grants"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "lease" ADD CONSTRAINT "lease_grant_id_fkey" FOREIGN KEY ("grant_id") REFERENCES "grants"("id") ON DELETE RESTRICT ON UPDATE CASCADE;


-- Beyond what schema.prisma can say ---------------------------------------------------------------------------------------

ALTER TABLE "session" ADD CONSTRAINT "session_status_check" CHECK ("status" IN ('active', 'ended'));
ALTER TABLE "grants" ADD CONSTRAINT "grants_status_check"
  CHECK ("status" IN ('pending', 'approved', 'denied', 'issuing', 'issued', 'failed', 'ended'));
ALTER TABLE "lease" ADD CONSTRAINT "lease_status_check"
  CHECK ("status" IN ('issuing', 'active', 'revoking', 'revoked', 'expired', 'failed'));
-- What revocation needed is wiped in the very statement that ends the lease (invariant 6), whatever code runs it.
ALTER TABLE "lease" ADD CONSTRAINT "lease_wiped_when_ended"
  CHECK ("status" NOT IN ('revoked', 'expired', 'failed') OR ("sealed" IS NULL AND "due_at" IS NULL AND "ended_at" IS NOT NULL));

-- The reconciler and the session sweep only ever look for rows that still have something to do.
DROP INDEX "lease_due_at_idx";
CREATE INDEX "lease_due_at_idx" ON "lease" ("due_at") WHERE "due_at" IS NOT NULL;
CREATE INDEX "lease_live_idx" ON "lease" ("session_id") WHERE "status" IN ('issuing', 'active');
CREATE INDEX "lease_prune_at_idx" ON "lease" ("prune_at") WHERE "prune_at" IS NOT NULL;
CREATE INDEX "session_active_idx" ON "session" (LEAST("expires_at", "heartbeat_deadline")) WHERE "status" = 'active';

-- History is written once.
CREATE FUNCTION writ_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'writ: % is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE ON "audit_event" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON "audit_event" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER manifest_append_only BEFORE UPDATE OR DELETE ON "manifest" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER manifest_no_truncate BEFORE TRUNCATE ON "manifest" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER review_append_only BEFORE UPDATE OR DELETE ON "review" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER review_no_truncate BEFORE TRUNCATE ON "review" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();

-- Appending is a plain INSERT from anywhere; the database numbers and chains the row, so no code can forget to.
-- broker/audit/verify.ts recomputes exactly this text.
CREATE FUNCTION writ_audit_hash(
  prev_hash text, chain text, seq integer, at timestamptz, type text, actor text, grant_id text, lease_id text, request_id text, payload json
) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT encode(sha256(convert_to(
    prev_hash || E'\n' || chain || E'\n' || seq::text || E'\n' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || E'\n' || type || E'\n' || actor
    || E'\n' || coalesce(grant_id, '') || E'\n' || coalesce(lease_id, '') || E'\n' || coalesce(request_id, '') || E'\n' || payload::text, 'UTF8')), 'hex')
$$;
CREATE FUNCTION writ_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  last_seq integer;
  last_hash text;
BEGIN
  INSERT INTO audit_chain (chain, seq, head) VALUES (NEW.chain, 0, '') ON CONFLICT (chain) DO NOTHING;
  SELECT seq, head INTO last_seq, last_hash FROM audit_chain WHERE chain = NEW.chain FOR UPDATE;
  NEW.seq := last_seq + 1;
  NEW.prev_hash := last_hash;
  NEW.hash := writ_audit_hash(last_hash, NEW.chain, NEW.seq, NEW.at, NEW.type, NEW.actor, NEW.grant_id, NEW.lease_id, NEW.request_id, NEW.payload);
  UPDATE audit_chain SET seq = NEW.seq, head = NEW.hash WHERE chain = NEW.chain;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_event_chain BEFORE INSERT ON "audit_event" FOR EACH ROW EXECUTE FUNCTION writ_audit_chain();
