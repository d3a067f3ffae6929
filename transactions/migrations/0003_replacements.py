"""Let a nonce have several attempts, and be used by what is nobody's payment."""

import django.contrib.postgres.indexes
from django.db import migrations, models

import accounts.money


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_reversals"),
        ("transactions", "0002_transaction_rules"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="attempt",
            name="transactions_attempt_fees_within_reason",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transactions_transaction_amount_within_uint256",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transactions_transaction_failed_with_a_reason",
        ),
        migrations.AddField(
            model_name="attempt",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("payment", "pays"),
                    ("cancel", "uses up the nonce and pays nobody"),
                    ("stranger", "was signed elsewhere and pays somebody else"),
                ],
                db_default="payment",
                default="payment",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="sent_block",
            field=models.BigIntegerField(
                db_default=0, default=0, help_text="The newest block known when it was last sent."
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="signed_block",
            field=models.BigIntegerField(
                db_default=0, default=0, help_text="The newest block known when it was signed."
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="value_in_wei",
            field=accounts.money.WeiField(
                blank=True, help_text="Of a stranger's transaction: what it moved.", null=True
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="cancel_requested_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="kind",
            field=models.CharField(
                choices=[
                    ("payment", "payment"),
                    ("fill", "no-op that fills a nonce"),
                    ("stranger", "another program's transaction"),
                ],
                db_default="payment",
                default="payment",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="reversals",
            field=models.PositiveSmallIntegerField(
                db_default=0, default=0, help_text="How often a reorg has undone its settlement."
            ),
        ),
        migrations.AddField(
            model_name="wallet",
            name="draining_at",
            field=models.DateTimeField(
                blank=True, editable=False, help_text="Since when it is given no new payments.", null=True
            ),
        ),
        migrations.AddField(
            model_name="wallet",
            name="progress_block",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="The newest block that was seen to hold one of its transactions.",
            ),
        ),
        migrations.AddField(
            model_name="wallet",
            name="unknown_since",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Since when the chain holds transactions that nobody knows.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="transaction",
            name="failure_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("rejected", "rejected"),
                    ("reverted", "reverted"),
                    ("cancelled", "cancelled"),
                    ("expired", "expired"),
                    ("displaced", "displaced by another transaction"),
                ],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="transaction",
            name="wait_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "nothing"),
                    ("node", "the Ethereum node does not answer"),
                    ("network_fee", "the network asks for more than the fee paid"),
                    ("wallet_funds", "the hot wallet needs funds"),
                    ("wallet", "no hot wallet is ready to send"),
                    ("key", "the hot wallet's key can't be read"),
                    ("recipient", "the node can't say what gas this recipient needs"),
                    ("nonce", "another transaction used its nonce: staff have to look"),
                    ("unclear", "a transaction that nobody knows may have paid it"),
                    ("in_flight", "as many are under way as may be"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=django.contrib.postgres.indexes.BrinIndex(fields=["block_number"], name="transactions_by_block"),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("raw_transaction", b""),
                    models.Q(
                        ("gas_limit__gte", 21000),
                        ("max_priority_fee_per_gas_in_wei__gte", 0),
                        ("max_priority_fee_per_gas_in_wei__lte", models.F("max_fee_per_gas_in_wei")),
                    ),
                    _connector="OR",
                ),
                name="transactions_attempt_fees_within_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("purpose", "stranger"),
                        ("raw_transaction", b""),
                        ("value_in_wei__gte", 0),
                        ("value_in_wei__isnull", False),
                    ),
                    models.Q(("purpose__in", ["payment", "cancel"]), ("value_in_wei__isnull", True)),
                    _connector="OR",
                ),
                name="transactions_attempt_of_a_stranger_with_its_value",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["payment", "fill", "stranger"])),
                name="transactions_transaction_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("transaction_amount_in_wei__gte", 0),
                    (
                        "transaction_amount_in_wei__lte",
                        115792089237316195423570985008687907853269984665640564039457584007913129639935,
                    ),
                    models.Q(
                        models.Q(("kind", "payment"), _negated=True),
                        ("transaction_amount_in_wei__gt", 0),
                        _connector="OR",
                    ),
                ),
                name="transactions_transaction_amount_within_uint256",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("failure_reason__in", ["rejected", "reverted", "cancelled", "expired", "displaced"]),
                        ("status", "FAILED"),
                    ),
                    models.Q(models.Q(("status", "FAILED"), _negated=True), ("failure_reason", "")),
                    _connector="OR",
                ),
                name="transactions_transaction_failed_with_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("paused_at__isnull", True), ("paused_reason", "")),
                    models.Q(("paused_at__isnull", False), models.Q(("paused_reason", ""), _negated=True)),
                    _connector="OR",
                ),
                name="transactions_wallet_paused_with_a_reason",
            ),
        ),
    ]
