-- The field's names: a lock key for an upstream document that one worker at a time may write.
ALTER TABLE "writer_lock" RENAME TO "upstream_lock";
ALTER TABLE "upstream_lock" RENAME CONSTRAINT "writer_lock_pkey" TO "upstream_lock_pkey";
ALTER TABLE "lease" RENAME COLUMN "writer" TO "lock_key";
ALTER INDEX "lease_writer_idx" RENAME TO "lease_lock_key_idx";
