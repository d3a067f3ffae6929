"""Install the database's own rules; the SQL lies beside this file."""

from pathlib import Path

from django.db import migrations

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.RunSQL(
            sql=(_SQL / "0002_ledger_rules.sql").read_text(),
            reverse_sql=(_SQL / "0002_ledger_rules_reverse.sql").read_text(),
        ),
    ]
