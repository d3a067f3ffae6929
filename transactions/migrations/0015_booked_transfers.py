from pathlib import Path

from django.db import migrations, models

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("transactions", "0014_wished_cancels")]

    operations = [
        migrations.CreateModel(
            name="BookedTransfer",
            fields=[("transaction_hash", models.CharField(max_length=66, primary_key=True, serialize=False))],
        ),
        migrations.AlterField(
            model_name="wallet",
            name="opened_at_block",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="What it held at this block is booked; what comes later is a deposit. Only a reorg takes it "
                "back.",
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(("opened_at_block__gte", 0)),
                name="transactions_wallet_opened_at_block_not_negative",
            ),
        ),
        migrations.RunSQL(
            sql=(_SQL / "0015_booked_transfers.sql").read_text(),
            reverse_sql=(_SQL / "0015_booked_transfers_reverse.sql").read_text(),
        ),
    ]
