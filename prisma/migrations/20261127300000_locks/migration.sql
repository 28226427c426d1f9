-- Locks (kill switches) and their lifts. Both are only added to: whoever can write rows can lock more, and
-- lifts nothing, because a lift counts by its proof alone.

CREATE TABLE "access_lock" (
    "id" TEXT NOT NULL,
    "level" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "reason" TEXT NOT NULL,
    "set_by" TEXT NOT NULL,
    "setter" JSONB NOT NULL,
    "set_at" TIMESTAMPTZ(3) NOT NULL,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "access_lock_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "access_lock_level_check" CHECK ("level" IN ('agent', 'owner', 'capability', 'provider', 'everything'))
);

-- Of two admins who lock the same at once, one does.
CREATE UNIQUE INDEX "access_lock_level_subject_number_key" ON "access_lock"("level", "subject", "number");

CREATE TABLE "access_lock_lift" (
    "lock_id" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "lifted_by" TEXT NOT NULL,
    "lifter" JSONB NOT NULL,
    "lifted_at" TIMESTAMPTZ(3) NOT NULL,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "access_lock_lift_pkey" PRIMARY KEY ("lock_id")
);

CREATE TRIGGER access_lock_append_only BEFORE UPDATE OR DELETE ON "access_lock" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER access_lock_no_truncate BEFORE TRUNCATE ON "access_lock" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER access_lock_lift_append_only BEFORE UPDATE OR DELETE ON "access_lock_lift" FOR EACH ROW EXECUTE FUNCTION writ_refuse_change();
CREATE TRIGGER access_lock_lift_no_truncate BEFORE TRUNCATE ON "access_lock_lift" FOR EACH STATEMENT EXECUTE FUNCTION writ_refuse_change();

-- How far a lock has come is counted from what ended since it was set.
CREATE INDEX "lease_ended_at_idx" ON "lease" ("ended_at") WHERE "ended_at" IS NOT NULL;
CREATE INDEX "session_ended_at_idx" ON "session" ("ended_at") WHERE "ended_at" IS NOT NULL;
