DROP TRIGGER transactions_transaction_successful_only_by_paying ON transactions_transaction;
CREATE TRIGGER transactions_transaction_successful_only_by_paying BEFORE UPDATE ON transactions_transaction
    FOR EACH ROW WHEN (NEW.status = 'SUCCESSFUL' AND OLD.status <> 'SUCCESSFUL' AND NEW.kind = 'payment')
    EXECUTE FUNCTION transactions_require_paying_attempt();
DROP TRIGGER transactions_transaction_sweep_to_an_own_wallet ON transactions_transaction;
DROP TRIGGER transactions_transaction_sweep_keeps_its_wallet ON transactions_transaction;
DROP TRIGGER transactions_wallet_address_never_changes ON transactions_wallet;
DROP TRIGGER transactions_deposit_credited_in_the_ledger ON transactions_deposit;
DROP TRIGGER transactions_deposit_never_deleted ON transactions_deposit;
DROP TRIGGER transactions_deposit_terms_never_change ON transactions_deposit;
DROP FUNCTION transactions_require_own_wallet();
DROP FUNCTION transactions_deposit_require_journal();
