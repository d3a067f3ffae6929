from django.db import migrations, models

# What a sweep brings is a deposit from now on: the blocks of those that are not settled yet are searched again.
_SEARCH_AGAIN = """
UPDATE transactions_block SET intake_from = NULL, taken_in_at = NULL
WHERE number IN (SELECT block_number FROM transactions_transaction WHERE kind = 'sweep' AND stage = 'MINED')
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_found"),
        ("transactions", "0012_reserves"),
    ]

    operations = [
        migrations.RunSQL(_SEARCH_AGAIN, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="wallet",
            index=models.Index(
                condition=models.Q(("unknown_since__isnull", False)), fields=["id"], name="transactions_wallet_unknown"
            ),
        ),
    ]
