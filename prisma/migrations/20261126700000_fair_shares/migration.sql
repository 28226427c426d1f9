-- What agents share at a provider: who has how much of it, and whether one more may be taken.

-- Providers of the manifest in force: an agent that may use none of a provider needs no room left there.
ALTER TABLE "agent" ADD COLUMN "providers" TEXT[] NOT NULL DEFAULT '{}';
UPDATE "agent" SET "providers" = ARRAY(
  SELECT DISTINCT capability.value ->> 'provider'
  FROM "manifest" m, json_each(m."compiled" -> 'manifest' -> 'capabilities') AS capability
  WHERE m."agent" = "agent"."name" AND m."version" = "agent"."version"
  ORDER BY 1);

-- Says why `lease_agent` may not take one more of what is shared; NULL when it may. One caller at a time and shared thing, until its transaction ends: counted is
-- what was committed until then, which a statement alone would not see after it has waited.
-- `document`: a place for a denial in the document of `lock_key`, which holds `denials` of them. Taken by every lease that may have to be denied there, until its
-- denial may go (`over`: what ended before needs none). While a mint's answer is not known, both names of a lease are denied: it takes two places.
-- `pool`: one of `members`, all that the provider has.
-- An agent may hold as much as it leaves free, unless nobody else may use the provider (dynamic threshold, Choudhury and Hahne 1998).
CREATE FUNCTION writ_room(lease_provider text, lease_agent text, document text, denials int, members text[], over timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  taken bigint;
  own bigint;
BEGIN
  IF denials IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('writ room ' || lease_provider || ' ' || document, 0));
    SELECT coalesce(sum(places), 0), coalesce(sum(places) FILTER (WHERE agent = lease_agent), 0) INTO taken, own FROM (
      SELECT l.agent, CASE WHEN l.handle IS NULL THEN 2 ELSE 1 END AS places FROM lease l
      WHERE l.provider = lease_provider AND l.lock_key = document AND l.provider_expires_at > over
        AND (l.status IN ('issuing', 'active', 'revoking', 'revoked') OR l.status = 'expired' AND l.prune_at IS NOT NULL)) AS lease_places;
    IF taken + 2 > denials THEN RETURN 'document_full'; END IF;
    IF own >= denials - taken AND writ_shared(lease_provider, lease_agent) THEN RETURN 'share_taken'; END IF;
  END IF;
  IF members IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('writ room ' || lease_provider, 0));
    SELECT count(*), count(*) FILTER (WHERE l.agent = lease_agent) INTO taken, own
    FROM pool_slot p LEFT JOIN lease l ON l.id = p.lease_id WHERE p.provider = lease_provider AND p.member = ANY(members);
    IF own >= cardinality(members) - taken AND taken < cardinality(members) AND writ_shared(lease_provider, lease_agent) THEN RETURN 'share_taken'; END IF;
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION writ_shared(lease_provider text, lease_agent text) RETURNS boolean
LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT 1 FROM agent WHERE name <> lease_agent AND lease_provider = ANY(providers)) $$;

-- What a document holds is found by when it may go, not among all that was ever denied there.
DROP INDEX "lease_lock_key_idx";
CREATE INDEX "lease_lock_key_idx" ON "lease" ("provider", "lock_key", "provider_expires_at") WHERE "lock_key" IS NOT NULL;
