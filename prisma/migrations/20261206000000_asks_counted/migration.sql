-- How many requests of an agent people were asked about since then. What is put to people together is one; those of `beside` are put to them with the next.
CREATE FUNCTION writ_asked(asking text, since timestamptz, beside text[]) RETURNS bigint
LANGUAGE sql STABLE AS $$
  SELECT count(*) FROM grants g
  WHERE g.agent = asking AND g.requested_at > since AND g.batch_id IS NULL AND g.id <> ALL(beside)
    -- Of one that was denied by a person, no time to decide is left.
    AND (g.decide_by IS NOT NULL OR EXISTS (SELECT 1 FROM review r WHERE r.grant_id = g.id))
$$;

-- Whether people may be asked about one more within an hour. One caller at a time and agent, until its transaction ends: counted is what was committed until then,
-- which a statement alone would not see after it has waited.
CREATE FUNCTION writ_may_ask(asking text, at timestamptz, per_hour int, beside text[]) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  asked bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('writ asks ' || asking, 0));
  SELECT writ_asked(asking, at - interval '1 hour', beside) INTO asked;
  RETURN asked < per_hour;
END $$;
