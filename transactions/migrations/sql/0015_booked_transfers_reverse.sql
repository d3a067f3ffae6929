DROP TRIGGER transactions_wallet_address_never_changes ON transactions_wallet;
CREATE TRIGGER transactions_wallet_address_never_changes BEFORE UPDATE ON transactions_wallet FOR EACH ROW
    WHEN ((OLD.role, OLD.address, OLD.account_id, OLD.credits_id)
          IS DISTINCT FROM (NEW.role, NEW.address, NEW.account_id, NEW.credits_id)
          OR NEW.opened_at_block < OLD.opened_at_block)
    EXECUTE FUNCTION transactions_refuse_change();
