-- Rows that are written once and changed soon after: where their page has room for the new version, no index is
-- written again. A grant is changed once, when its credential is there; a session and the head of its chain with
-- every grant.
ALTER TABLE "grants" SET (fillfactor = 70);
ALTER TABLE "session" SET (fillfactor = 80);
ALTER TABLE "audit_chain" SET (fillfactor = 80);
