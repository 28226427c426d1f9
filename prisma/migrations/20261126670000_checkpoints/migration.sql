-- A chain's head is moved with the rights of the owner of the tables: who may insert into the record needs none on the heads. Everything in the function is
-- named in full but the operators, which are the server's own whatever the caller's path is.
ALTER FUNCTION writ_audit_chain() SECURITY DEFINER;
ALTER FUNCTION writ_audit_chain() SET search_path = pg_catalog, pg_temp;

-- Where the signed checkpoints of the record have got to: one row.
CREATE TABLE "audit_checkpoint" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "number" INTEGER NOT NULL,
    "hash" TEXT NOT NULL,
    "watermark" TIMESTAMPTZ(3),
    "next_watermark" TIMESTAMPTZ(3),
    "cursor" TEXT NOT NULL,
    "pending" TEXT,
    "due_at" TIMESTAMPTZ(3) NOT NULL,
    "proof" TEXT NOT NULL DEFAULT '',

    CONSTRAINT "audit_checkpoint_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "audit_checkpoint_one" CHECK ("id" = 1)
);
