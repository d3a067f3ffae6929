-- Whose address it is never changes: what is paid to it belongs to that account. The block that it was opened at may go
-- down again: when a reorg has undone it, the wallet was opened where the two branches part.
DROP TRIGGER transactions_wallet_address_never_changes ON transactions_wallet;
CREATE TRIGGER transactions_wallet_address_never_changes BEFORE UPDATE ON transactions_wallet FOR EACH ROW
    WHEN ((OLD.role, OLD.address, OLD.account_id, OLD.credits_id)
          IS DISTINCT FROM (NEW.role, NEW.address, NEW.account_id, NEW.credits_id))
    EXECUTE FUNCTION transactions_refuse_change();
