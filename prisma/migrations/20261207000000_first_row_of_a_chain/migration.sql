-- The first row of a chain wrote its head twice: empty, and then with the row. Every session begins with such a row.
CREATE OR REPLACE FUNCTION writ_audit_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.<>) pg_catalog.concat('"', TG_TABLE_SCHEMA, '", pg_temp') THEN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.concat('"', TG_TABLE_SCHEMA, '", pg_temp'), true);
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
    INSERT INTO audit_chain (chain, seq, head)
    VALUES (NEW.chain, 1, writ_audit_hash('', NEW.chain, 1, NEW.at, NEW.type, NEW.actor, NEW.grant_id, NEW.lease_id, NEW.request_id, NEW.payload))
    ON CONFLICT (chain) DO NOTHING RETURNING seq, previous, head INTO NEW.seq, NEW.prev_hash, NEW.hash;
    IF FOUND THEN RETURN NEW; END IF;
  END LOOP;
END $$;
