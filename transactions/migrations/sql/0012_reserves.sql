-- A report is evidence: it stays as it was made, and only signatures are added to it, once.
CREATE TRIGGER transactions_reservesreport_only_signed_once BEFORE UPDATE ON transactions_reservesreport FOR EACH ROW
    WHEN (OLD.signed_at IS NOT NULL
          OR (OLD.id, OLD.made_at, OLD.block_number, OLD.block_hash, OLD.not_compared, OLD.owed_in_wei,
              OLD.held_in_wei, OLD.in_flight_in_wei, OLD.differences_total, OLD.text)
             IS DISTINCT FROM
             (NEW.id, NEW.made_at, NEW.block_number, NEW.block_hash, NEW.not_compared, NEW.owed_in_wei,
              NEW.held_in_wei, NEW.in_flight_in_wei, NEW.differences_total, NEW.text))
    EXECUTE FUNCTION transactions_refuse_change();
CREATE TRIGGER transactions_reservesreport_never_deleted BEFORE DELETE OR TRUNCATE ON transactions_reservesreport
    FOR EACH STATEMENT EXECUTE FUNCTION transactions_refuse_change();
