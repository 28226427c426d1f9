-- 66 bits tell a credential from all others; half the length is half the index.
UPDATE "lease" SET "marks" = ARRAY(SELECT left(m, 11) FROM unnest("marks") m) WHERE cardinality("marks") > 0;
