-- What was signed is over without a block only when it was given up, and its nonce with it.
CREATE FUNCTION transactions_require_passed_nonce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.failure_reason <> 'displaced' OR NEW.block_number IS NOT NULL OR NOT EXISTS (
        SELECT FROM transactions_passednonce AS passed
        WHERE passed.wallet_id = NEW.wallet_id AND passed.nonce = NEW.nonce
    ) THEN
        RAISE EXCEPTION 'transaction % is in no block, and its nonce was not given up', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transactions_transaction_given_up_with_its_nonce';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_transaction_given_up_with_its_nonce BEFORE UPDATE ON transactions_transaction
    FOR EACH ROW WHEN (OLD.stage IN ('SIGNED', 'BROADCAST') AND NEW.stage = 'SETTLED')
    EXECUTE FUNCTION transactions_require_passed_nonce();
