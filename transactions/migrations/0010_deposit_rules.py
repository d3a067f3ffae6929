"""Install the database's rules about deposits and sweeps; the SQL lies beside this file."""

from pathlib import Path

from django.db import migrations

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("transactions", "0009_deposits")]
    operations = [
        migrations.RunSQL(
            sql=(_SQL / "0010_deposit_rules.sql").read_text(),
            reverse_sql=(_SQL / "0010_deposit_rules_reverse.sql").read_text(),
        ),
    ]
