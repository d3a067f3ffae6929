-- What a transaction pays, from where and to whom never changes; a final one never changes at all; none is deleted.
CREATE FUNCTION transactions_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: this change is not allowed', TG_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
END $$;

CREATE TRIGGER transactions_transaction_terms_never_change BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN ((OLD.user_account_id, OLD.to_public_address, OLD.transaction_amount_in_wei,
           OLD.transaction_fee_total_in_wei, OLD.idempotency_key, OLD.payload_hash, OLD.accepted_at)
          IS DISTINCT FROM
          (NEW.user_account_id, NEW.to_public_address, NEW.transaction_amount_in_wei,
           NEW.transaction_fee_total_in_wei, NEW.idempotency_key, NEW.payload_hash, NEW.accepted_at))
    EXECUTE FUNCTION transactions_refuse_change();

CREATE TRIGGER transactions_transaction_final_stays_final BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.stage = 'SETTLED'
          AND (OLD.stage, OLD.status, OLD.failure_reason, OLD.transaction_hash, OLD.block_hash, OLD.nonce)
              IS DISTINCT FROM
              (NEW.stage, NEW.status, NEW.failure_reason, NEW.transaction_hash, NEW.block_hash, NEW.nonce))
    EXECUTE FUNCTION transactions_refuse_change();

-- Once a nonce is given to a transaction it keeps it: another nonce could be another payment.
CREATE TRIGGER transactions_transaction_keeps_its_nonce BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.nonce IS NOT NULL AND (OLD.wallet_id, OLD.nonce) IS DISTINCT FROM (NEW.wallet_id, NEW.nonce))
    EXECUTE FUNCTION transactions_refuse_change();

CREATE TRIGGER transactions_transaction_never_deleted BEFORE DELETE OR TRUNCATE ON transactions_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION transactions_refuse_change();

-- An attempt is evidence: its bytes stay, and so does it.
CREATE TRIGGER transactions_attempt_bytes_never_change BEFORE UPDATE ON transactions_attempt FOR EACH ROW
    WHEN ((OLD.wallet_id, OLD.nonce, OLD.transaction_id, OLD.hash, OLD.raw_transaction)
          IS DISTINCT FROM (NEW.wallet_id, NEW.nonce, NEW.transaction_id, NEW.hash, NEW.raw_transaction))
    EXECUTE FUNCTION transactions_refuse_change();
CREATE TRIGGER transactions_attempt_never_deleted BEFORE DELETE OR TRUNCATE ON transactions_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION transactions_refuse_change();

-- One nonce of a wallet belongs to one transaction, in all its attempts.
CREATE FUNCTION transactions_attempt_require_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added JOIN transactions_transaction t ON t.id = added.transaction_id
        WHERE (t.wallet_id, t.nonce) IS DISTINCT FROM (added.wallet_id, added.nonce)
    ) THEN
        RAISE EXCEPTION 'an attempt has the wallet and nonce of its transaction'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transactions_attempt_nonce_of_its_transaction';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER transactions_attempt_nonce_of_its_transaction AFTER INSERT ON transactions_attempt
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION transactions_attempt_require_owner();
