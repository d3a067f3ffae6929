"""Remember which wallet replaces one whose key is rotated, and when that one was retired."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transactions", "0010_deposit_rules")]
    operations = [
        migrations.AddField(
            model_name="wallet",
            name="replaced_by",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                help_text="The wallet that what it holds goes to; its key is being rotated.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="replaced",
                to="transactions.wallet",
            ),
        ),
        migrations.AddField(
            model_name="wallet",
            name="retired_at",
            field=models.DateTimeField(
                blank=True, editable=False, help_text="When it was empty and its key was put away.", null=True
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("replaced_by__isnull", True),
                    models.Q(("draining_at__isnull", False), models.Q(("replaced_by", models.F("id")), _negated=True)),
                    _connector="OR",
                ),
                name="transactions_wallet_replaced_by_another_gets_no_payments",
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("retired_at__isnull", True),
                    models.Q(("paused_at__isnull", False), ("replaced_by__isnull", False)),
                    _connector="OR",
                ),
                name="transactions_wallet_retired_only_when_replaced_and_paused",
            ),
        ),
    ]
