-- An ended session counts as released only when its calls are closed too: the sweep looks at such sessions alone, never through all calls that wait for a report.
UPDATE "session" s SET "released_at" = NULL
WHERE s."status" = 'ended' AND s."released_at" IS NOT NULL
  AND EXISTS (SELECT 1 FROM "action" a WHERE a."session_id" = s."id" AND a."outcome" IS NULL AND a."effect" = 'allow');
