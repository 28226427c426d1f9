-- A restore runs with an empty search_path (pg_dump writes it so): the function names its tables in full, by the schema that this migration runs in. Not by a
-- search_path of its own, which costs on every row and keeps the hash from becoming part of the statement.
-- And a restore brings rows that are numbered and chained already: such a row stays as it is, when its hash is the one of what it holds. Either it continues its
-- chain, or its chain's head was restored before it; which rows are there and how they hang together is for `audit verify`.
DO $migration$
BEGIN
  EXECUTE format($function$
    CREATE OR REPLACE FUNCTION %1$I.writ_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      IF NEW.hash <> '' THEN
        IF NEW.seq < 1 OR NEW.hash <> %1$I.writ_audit_hash(
          NEW.prev_hash, NEW.chain, NEW.seq, NEW.at, NEW.type, NEW.actor, NEW.grant_id, NEW.lease_id, NEW.request_id, NEW.payload)
        THEN
          RAISE EXCEPTION 'writ: row %% of chain %% is not what its hash says', NEW.seq, NEW.chain USING ERRCODE = 'check_violation';
        END IF;
        UPDATE %1$I.audit_chain SET seq = NEW.seq, previous = NEW.prev_hash, head = NEW.hash
        WHERE chain = NEW.chain AND seq = NEW.seq - 1 AND head = NEW.prev_hash;
        IF FOUND THEN RETURN NEW; END IF;
        PERFORM 1 FROM %1$I.audit_chain WHERE chain = NEW.chain AND seq >= NEW.seq;
        IF FOUND THEN RETURN NEW; END IF;
        IF NEW.seq = 1 AND NEW.prev_hash = '' THEN
          INSERT INTO %1$I.audit_chain (chain, seq, head) VALUES (NEW.chain, 1, NEW.hash) ON CONFLICT (chain) DO NOTHING;
          IF FOUND THEN RETURN NEW; END IF;
        END IF;
        RAISE EXCEPTION 'writ: row %% does not continue chain %%', NEW.seq, NEW.chain USING ERRCODE = 'check_violation';
      END IF;
      LOOP
        UPDATE %1$I.audit_chain SET seq = seq + 1, previous = head,
               head = %1$I.writ_audit_hash(head, chain, seq + 1, NEW.at, NEW.type, NEW.actor, NEW.grant_id, NEW.lease_id, NEW.request_id, NEW.payload)
        WHERE chain = NEW.chain RETURNING seq, previous, head INTO NEW.seq, NEW.prev_hash, NEW.hash;
        IF FOUND THEN RETURN NEW; END IF;
        INSERT INTO %1$I.audit_chain (chain, seq, head) VALUES (NEW.chain, 0, '') ON CONFLICT (chain) DO NOTHING;
      END LOOP;
    END $body$
  $function$, current_schema());
END $migration$;
