-- The rules of the ledger that no code can go round.

-- A row of an append-only table never changes and never goes.
CREATE FUNCTION accounts_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_TABLE_NAME || '_append_only';
END $$;

CREATE TRIGGER accounts_journal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON accounts_journal
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_refuse_change();
CREATE TRIGGER accounts_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON accounts_entry
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_refuse_change();
CREATE TRIGGER accounts_auditevent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON accounts_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_refuse_change();

-- The entries that one statement adds sum to zero in each journal.
CREATE FUNCTION accounts_require_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unbalanced bigint;
BEGIN
    SELECT journal_id INTO unbalanced FROM added GROUP BY journal_id HAVING sum(amount_in_wei) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % is not balanced', unbalanced
            USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_journal_balanced';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER accounts_journal_balanced AFTER INSERT ON accounts_entry
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION accounts_require_balance();

-- A hold is resolved once; what it reserves, and for what, never changes.
CREATE FUNCTION accounts_hold_require_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'hold % is %, and can be resolved only once', OLD.id, OLD.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_hold_resolved_once';
END $$;

CREATE TRIGGER accounts_hold_resolved_once BEFORE UPDATE ON accounts_hold FOR EACH ROW
    WHEN (OLD.status <> 'held' OR NEW.status = 'held'
          OR (OLD.account_id, OLD.kind, OLD.source, OLD.amount_in_wei)
             IS DISTINCT FROM (NEW.account_id, NEW.kind, NEW.source, NEW.amount_in_wei))
    EXECUTE FUNCTION accounts_hold_require_once();
CREATE TRIGGER accounts_hold_append_only BEFORE DELETE OR TRUNCATE ON accounts_hold
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_refuse_change();
