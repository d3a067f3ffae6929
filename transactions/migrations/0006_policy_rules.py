"""Install the database's rules about policies and approvals; the SQL lies beside this file."""

from pathlib import Path

from django.db import migrations

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("transactions", "0005_policies")]
    operations = [
        migrations.RunSQL(
            sql=(_SQL / "0006_policy_rules.sql").read_text(),
            reverse_sql=(_SQL / "0006_policy_rules_reverse.sql").read_text(),
        ),
    ]
