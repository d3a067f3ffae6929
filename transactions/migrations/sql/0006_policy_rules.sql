-- Policies and lists of recipients are users': the desk's own accounts pay nobody.
CREATE FUNCTION transactions_require_users_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM accounts_account WHERE id = NEW.account_id AND kind = 'user') THEN
        RAISE EXCEPTION 'account % is no user''s', NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_accountpolicy_of_a_users_account BEFORE INSERT OR UPDATE ON transactions_accountpolicy
    FOR EACH ROW EXECUTE FUNCTION transactions_require_users_account();
CREATE TRIGGER transactions_allowedrecipient_of_a_users_account BEFORE INSERT OR UPDATE ON transactions_allowedrecipient
    FOR EACH ROW EXECUTE FUNCTION transactions_require_users_account();

-- Nobody decides on a payment from their own account, whatever their permissions.
CREATE FUNCTION transactions_require_second_person() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM transactions_transaction AS payment
        JOIN accounts_account AS account ON account.id = payment.user_account_id
        WHERE payment.id = NEW.transaction_id AND account.owner_id = NEW.decided_by_id
    ) THEN
        RAISE EXCEPTION 'payment % is from the own account of user %', NEW.transaction_id, NEW.decided_by_id
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_approval_by_a_second_person BEFORE INSERT OR UPDATE ON transactions_approval FOR EACH ROW
    WHEN (NEW.decided_by_id IS NOT NULL) EXECUTE FUNCTION transactions_require_second_person();

-- A verdict is given once; what was asked for stays as it was asked; both are kept.
CREATE TRIGGER transactions_approval_decided_once BEFORE UPDATE ON transactions_approval FOR EACH ROW
    WHEN (OLD.verdict <> '') EXECUTE FUNCTION transactions_refuse_change();
CREATE TRIGGER transactions_approval_request_never_changes BEFORE UPDATE ON transactions_approval FOR EACH ROW
    WHEN ((OLD.transaction_id, OLD.requested_at, OLD.above_in_wei)
          IS DISTINCT FROM (NEW.transaction_id, NEW.requested_at, NEW.above_in_wei))
    EXECUTE FUNCTION transactions_refuse_change();
CREATE TRIGGER transactions_approval_never_deleted BEFORE DELETE OR TRUNCATE ON transactions_approval
    FOR EACH STATEMENT EXECUTE FUNCTION transactions_refuse_change();

-- Whoever waits for approval is on the approvers' list: else its money would be held for ever, unseen.
CREATE FUNCTION transactions_require_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM transactions_approval WHERE transaction_id = NEW.id) THEN
        RAISE EXCEPTION 'payment % waits for an approval that nobody is asked for', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transactions_transaction_in_review_with_its_request AFTER INSERT ON transactions_transaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.stage = 'REVIEW') EXECUTE FUNCTION transactions_require_request();

-- A payment leaves the review by its verdict and no other way: approved it goes on, refused or withdrawn it ends.
CREATE FUNCTION transactions_require_verdict() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    needed text := CASE WHEN NEW.stage <> 'SETTLED' THEN 'approved'
                        WHEN NEW.failure_reason = 'refused' THEN 'refused' ELSE 'withdrawn' END;
BEGIN
    IF NOT EXISTS (SELECT FROM transactions_approval WHERE transaction_id = NEW.id AND verdict = needed) THEN
        RAISE EXCEPTION 'payment % is not %', NEW.id, needed
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_transaction_leaves_review_by_its_verdict BEFORE UPDATE ON transactions_transaction
    FOR EACH ROW WHEN (OLD.stage = 'REVIEW' AND NEW.stage <> 'REVIEW')
    EXECUTE FUNCTION transactions_require_verdict();
