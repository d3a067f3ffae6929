"""Install the database's rules about replacements and reversals; the SQL lies beside this file."""

from pathlib import Path

from django.db import migrations

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("transactions", "0003_replacements"), ("accounts", "0004_reversals")]
    operations = [
        migrations.RunSQL(
            sql=(_SQL / "0004_replacement_rules.sql").read_text(),
            reverse_sql=(_SQL / "0004_replacement_rules_reverse.sql").read_text(),
        ),
    ]
