from pathlib import Path

from django.db import migrations

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("transactions", "0016_unknown_nonces")]

    operations = [
        migrations.RunSQL(
            sql=(_SQL / "0017_given_up.sql").read_text(),
            reverse_sql=(_SQL / "0017_given_up_reverse.sql").read_text(),
        ),
    ]
