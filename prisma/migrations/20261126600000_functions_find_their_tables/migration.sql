-- A restore runs with an empty search_path (pg_dump writes it so), and a role may have temporary tables by our names: the function looks for its tables where its
-- own table is and nowhere before it, for this transaction. What our connections set is that already. Not by a SET of the function's own, which costs on every
-- row and does not follow a schema that is renamed.
-- And a restore brings rows that are numbered and chained already: such a row stays as it is, when its hash is the one of what it holds. Either it continues its
-- chain, or its chain's head was restored before it; which rows are there and how they hang together is for `audit verify`.
CREATE OR REPLACE FUNCTION writ_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('search_path') <> '"' || TG_TABLE_SCHEMA || '", pg_temp' THEN
    PERFORM set_config('search_path', '"' || TG_TABLE_SCHEMA || '", pg_temp', true);
  END IF;
  IF NEW.hash <> '' THEN
    IF NEW.seq < 1 OR NEW.hash <> writ_audit_hash(
      NEW.prev_hash, NEW.chain, NEW.seq, NEW.at, NEW.type, NEW.actor, NEW.grant_id, NEW.lease_id, NEW.request_id, NEW.payload)
    THEN
      RAISE EXCEPTION 'writ: row % of chain % is not what its hash says', NEW.seq, NEW.chain USING ERRCODE = 'check_violation';
    END IF;
    UPDATE audit_chain SET seq = NEW.seq, previous = NEW.prev_hash, head = NEW.hash
    WHERE chain = NEW.chain AND seq = NEW.seq - 1 AND head = NEW.prev_hash;
    IF FOUND THEN RETURN NEW; END IF;
    PERFORM 1 FROM audit_chain WHERE chain = NEW.chain AND seq >= NEW.seq;
    IF FOUND THEN RETURN NEW; END IF;
    IF NEW.seq = 1 AND NEW.prev_hash = '' THEN
      INSERT INTO audit_chain (chain, seq, head) VALUES (NEW.chain, 1, NEW.hash) ON CONFLICT (chain) DO NOTHING;
      IF FOUND THEN RETURN NEW; END IF;
    END IF;
    RAISE EXCEPTION 'writ: row % does not continue chain %', NEW.seq, NEW.chain USING ERRCODE = 'check_violation';
  END IF;
  LOOP
    UPDATE audit_chain SET seq = seq + 1, previous = head,
           head = writ_audit_hash(head, chain, seq + 1, NEW.at, NEW.type, NEW.actor, NEW.grant_id, NEW.lease_id, NEW.request_id, NEW.payload)
    WHERE chain = NEW.chain RETURNING seq, previous, head INTO NEW.seq, NEW.prev_hash, NEW.hash;
    IF FOUND THEN RETURN NEW; END IF;
    INSERT INTO audit_chain (chain, seq, head) VALUES (NEW.chain, 0, '') ON CONFLICT (chain) DO NOTHING;
  END LOOP;
END $$;
