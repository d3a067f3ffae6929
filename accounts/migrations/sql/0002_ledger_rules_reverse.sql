DROP TRIGGER accounts_hold_append_only ON accounts_hold;
DROP TRIGGER accounts_hold_resolved_once ON accounts_hold;
DROP TRIGGER accounts_journal_balanced ON accounts_entry;
DROP TRIGGER accounts_auditevent_append_only ON accounts_auditevent;
DROP TRIGGER accounts_entry_append_only ON accounts_entry;
DROP TRIGGER accounts_journal_append_only ON accounts_journal;
DROP FUNCTION accounts_hold_require_once();
DROP FUNCTION accounts_require_balance();
DROP FUNCTION accounts_refuse_change();
