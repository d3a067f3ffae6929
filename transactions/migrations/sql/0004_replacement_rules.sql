-- A final transaction changes only when a reorg has undone it: one reversal more, and back to where its block is sought.
DROP TRIGGER transactions_transaction_final_stays_final ON transactions_transaction;
CREATE TRIGGER transactions_transaction_final_stays_final BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.stage = 'SETTLED'
          AND (OLD.stage, OLD.status, OLD.failure_reason, OLD.transaction_hash, OLD.block_hash, OLD.nonce, OLD.reversals)
              IS DISTINCT FROM
              (NEW.stage, NEW.status, NEW.failure_reason, NEW.transaction_hash, NEW.block_hash, NEW.nonce, NEW.reversals)
          AND NOT (OLD.block_number IS NOT NULL AND NEW.stage = 'BROADCAST' AND NEW.reversals = OLD.reversals + 1
                   AND OLD.transaction_hash = NEW.transaction_hash AND OLD.nonce = NEW.nonce))
    EXECUTE FUNCTION transactions_refuse_change();

CREATE TRIGGER transactions_transaction_reversals_count_reversals BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.reversals <> NEW.reversals AND OLD.stage <> 'SETTLED')
    EXECUTE FUNCTION transactions_refuse_change();

-- What was settled is taken back in the ledger, and the funds are held for the next round, before the row moves.
CREATE FUNCTION transactions_require_reversal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    settled_as text := OLD.id || CASE WHEN OLD.reversals > 0 THEN '.' || OLD.reversals ELSE '' END;
    held_as text := NEW.id || '.' || NEW.reversals;
BEGIN
    IF EXISTS (SELECT FROM accounts_journal WHERE kind = 'settlement' AND source = settled_as)
       AND NOT EXISTS (SELECT FROM accounts_journal WHERE kind = 'reversal' AND source = settled_as) THEN
        RAISE EXCEPTION 'settlement % was not reversed', settled_as
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transactions_transaction_reversed_in_the_ledger';
    END IF;
    IF NEW.kind = 'payment'
       AND NOT EXISTS (SELECT FROM accounts_hold WHERE kind = 'payment' AND source = held_as AND status = 'held') THEN
        RAISE EXCEPTION 'payment % has no hold', held_as
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transactions_transaction_reversed_in_the_ledger';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_transaction_reversed_in_the_ledger BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.reversals < NEW.reversals) EXECUTE FUNCTION transactions_require_reversal();

-- A payment is successful only by an attempt that pays: neither by a cancel nor by a stranger's transaction.
CREATE FUNCTION transactions_require_paying_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM transactions_attempt
        WHERE hash = NEW.transaction_hash AND transaction_id = NEW.id AND purpose = 'payment'
    ) THEN
        RAISE EXCEPTION 'payment % was not paid by %', NEW.id, NEW.transaction_hash
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transactions_transaction_successful_only_by_paying';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_transaction_successful_only_by_paying BEFORE UPDATE ON transactions_transaction
    FOR EACH ROW WHEN (NEW.status = 'SUCCESSFUL' AND OLD.status <> 'SUCCESSFUL' AND NEW.kind = 'payment')
    EXECUTE FUNCTION transactions_require_paying_attempt();

CREATE TRIGGER transactions_transaction_kind_never_changes BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.kind <> NEW.kind) EXECUTE FUNCTION transactions_refuse_change();

-- What an attempt does with its nonce is part of its evidence.
CREATE TRIGGER transactions_attempt_purpose_never_changes BEFORE UPDATE ON transactions_attempt FOR EACH ROW
    WHEN ((OLD.purpose, OLD.value_in_wei) IS DISTINCT FROM (NEW.purpose, NEW.value_in_wei))
    EXECUTE FUNCTION transactions_refuse_change();
