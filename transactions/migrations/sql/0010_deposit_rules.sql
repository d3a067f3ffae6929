-- A deposit is what the chain says it is, and stays; only how far it has come changes.
CREATE TRIGGER transactions_deposit_terms_never_change BEFORE UPDATE ON transactions_deposit FOR EACH ROW
    WHEN ((OLD.wallet_id, OLD.transaction_hash, OLD.from_public_address, OLD.amount_in_wei, OLD.seen_at)
          IS DISTINCT FROM
          (NEW.wallet_id, NEW.transaction_hash, NEW.from_public_address, NEW.amount_in_wei, NEW.seen_at))
    EXECUTE FUNCTION transactions_refuse_change();
CREATE TRIGGER transactions_deposit_never_deleted BEFORE DELETE OR TRUNCATE ON transactions_deposit
    FOR EACH STATEMENT EXECUTE FUNCTION transactions_refuse_change();

-- Credited with its journal, one for each time; taken back with the journal that undoes that one; never otherwise.
CREATE FUNCTION transactions_deposit_require_journal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    credited_as text := NEW.transaction_hash || CASE WHEN NEW.credits > 1 THEN '.' || NEW.credits ELSE '' END;
    is_credited boolean := NEW.status = 'credited';
    was_credited boolean := TG_OP = 'UPDATE' AND OLD.status = 'credited';
    credits_before integer := CASE WHEN TG_OP = 'UPDATE' THEN OLD.credits ELSE 0 END;
BEGIN
    IF TG_OP = 'INSERT' AND is_credited
       OR NEW.credits <> credits_before + (is_credited AND NOT was_credited)::integer THEN
        RAISE EXCEPTION 'deposit % is not credited once at a time', NEW.transaction_hash
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    IF is_credited AND NOT was_credited AND NOT EXISTS (
        SELECT FROM accounts_journal WHERE source = credited_as AND kind IN ('deposit', 'wallet_funding')
    ) OR was_credited AND NOT is_credited AND NOT EXISTS (
        SELECT FROM accounts_journal WHERE source = credited_as AND kind = 'deposit_reversal'
    ) THEN
        RAISE EXCEPTION 'the ledger has no journal of deposit %, %', credited_as, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_deposit_credited_in_the_ledger BEFORE INSERT OR UPDATE ON transactions_deposit
    FOR EACH ROW EXECUTE FUNCTION transactions_deposit_require_journal();

-- What came to wallets before there were deposits to find was booked by hand, up to the newest block that was walked.
UPDATE transactions_wallet SET opened_at_block = coalesce((SELECT max(number) FROM transactions_block), 0);

-- Whose address it is never changes: what is paid to it belongs to that account. What was booked once stays booked.
CREATE TRIGGER transactions_wallet_address_never_changes BEFORE UPDATE ON transactions_wallet FOR EACH ROW
    WHEN ((OLD.role, OLD.address, OLD.account_id, OLD.credits_id)
          IS DISTINCT FROM (NEW.role, NEW.address, NEW.account_id, NEW.credits_id)
          OR NEW.opened_at_block < OLD.opened_at_block)
    EXECUTE FUNCTION transactions_refuse_change();

-- What moves between wallets of the desk leaves the wallet that it was ordered from, for one that is the desk's too.
CREATE TRIGGER transactions_transaction_sweep_keeps_its_wallet BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.kind = 'sweep' AND OLD.wallet_id IS DISTINCT FROM NEW.wallet_id)
    EXECUTE FUNCTION transactions_refuse_change();
CREATE FUNCTION transactions_require_own_wallet() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM transactions_wallet
                   WHERE address = NEW.to_public_address AND role = 'hot' AND id IS DISTINCT FROM NEW.wallet_id) THEN
        RAISE EXCEPTION 'sweep % does not go to another hot wallet', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_transaction_sweep_to_an_own_wallet BEFORE INSERT ON transactions_transaction FOR EACH ROW
    WHEN (NEW.kind = 'sweep') EXECUTE FUNCTION transactions_require_own_wallet();

-- A sweep, too, succeeds only by an attempt that moves what it was to move.
DROP TRIGGER transactions_transaction_successful_only_by_paying ON transactions_transaction;
CREATE TRIGGER transactions_transaction_successful_only_by_paying BEFORE UPDATE ON transactions_transaction
    FOR EACH ROW WHEN (NEW.status = 'SUCCESSFUL' AND OLD.status <> 'SUCCESSFUL' AND NEW.kind IN ('payment', 'sweep'))
    EXECUTE FUNCTION transactions_require_paying_attempt();

-- Blocks that were walked before there were deposits to find: what they brought was booked by hand.
UPDATE transactions_block SET taken_in_at = now();
