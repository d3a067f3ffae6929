DROP TRIGGER transactions_attempt_purpose_never_changes ON transactions_attempt;
DROP TRIGGER transactions_transaction_kind_never_changes ON transactions_transaction;
DROP TRIGGER transactions_transaction_successful_only_by_paying ON transactions_transaction;
DROP TRIGGER transactions_transaction_reversed_in_the_ledger ON transactions_transaction;
DROP TRIGGER transactions_transaction_reversals_count_reversals ON transactions_transaction;
DROP TRIGGER transactions_transaction_final_stays_final ON transactions_transaction;
DROP FUNCTION transactions_require_paying_attempt();
DROP FUNCTION transactions_require_reversal();
CREATE TRIGGER transactions_transaction_final_stays_final BEFORE UPDATE ON transactions_transaction FOR EACH ROW
    WHEN (OLD.stage = 'SETTLED'
          AND (OLD.stage, OLD.status, OLD.failure_reason, OLD.transaction_hash, OLD.block_hash, OLD.nonce)
              IS DISTINCT FROM
              (NEW.stage, NEW.status, NEW.failure_reason, NEW.transaction_hash, NEW.block_hash, NEW.nonce))
    EXECUTE FUNCTION transactions_refuse_change();
