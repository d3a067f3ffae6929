"""Policies of accounts, approvals, and the stage in which a payment waits for one."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import accounts.money


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_reversals"),
        ("transactions", "0004_replacement_rules"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AccountPolicy",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="policy",
                        serialize=False,
                        to="accounts.account",
                    ),
                ),
                ("amount_max_in_wei", accounts.money.WeiField(blank=True, null=True, verbose_name="largest amount")),
                (
                    "daily_amount_max_in_wei",
                    accounts.money.WeiField(blank=True, null=True, verbose_name="largest amount in 24 hours"),
                ),
                (
                    "approval_above_in_wei",
                    accounts.money.WeiField(blank=True, null=True, verbose_name="approval above"),
                ),
                ("is_allow_list_only", models.BooleanField(default=False, verbose_name="allow-list only")),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "policy",
                "verbose_name_plural": "policies",
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="AllowedRecipient",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(help_text="In EIP-55 form.", max_length=42)),
                ("note", models.CharField(blank=True, max_length=200)),
                ("allowed_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ["account_id", "id"],
            },
        ),
        migrations.CreateModel(
            name="Approval",
            fields=[
                (
                    "transaction",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="approval",
                        serialize=False,
                        to="transactions.transaction",
                    ),
                ),
                ("requested_at", models.DateTimeField()),
                (
                    "above_in_wei",
                    accounts.money.WeiField(
                        help_text="The policy at that time: above this amount, payments need approval."
                    ),
                ),
                (
                    "verdict",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "open"),
                            ("approved", "approved"),
                            ("refused", "refused"),
                            ("withdrawn", "called off before a verdict"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "ordering": ["-decided_at", "pk"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transactions_transaction_final_only_when_settled",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transactions_transaction_signed_with_nonce_and_hash",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transactions_transaction_mined_with_its_block",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transactions_transaction_failed_with_a_reason",
        ),
        migrations.AddField(
            model_name="transaction",
            name="approved_at",
            field=models.DateTimeField(
                blank=True, help_text="When staff approved it; empty where none was needed.", null=True
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
                    ("refused", "refused by staff"),
                ],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="transaction",
            name="stage",
            field=models.CharField(
                choices=[
                    ("REVIEW", "waits for approval"),
                    ("ACCEPTED", "accepted"),
                    ("SIGNED", "signed"),
                    ("BROADCAST", "broadcast"),
                    ("MINED", "mined"),
                    ("SETTLED", "settled"),
                ],
                default="ACCEPTED",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("stage__in", ["REVIEW", "ACCEPTED", "SIGNED", "BROADCAST", "MINED"]), ("status", "PENDING")
                    ),
                    models.Q(("stage", "SETTLED"), ("status__in", ["SUCCESSFUL", "FAILED"])),
                    _connector="OR",
                ),
                name="transactions_transaction_final_only_when_settled",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        (
                            "failure_reason__in",
                            ["rejected", "reverted", "cancelled", "expired", "displaced", "refused"],
                        ),
                        ("status", "FAILED"),
                    ),
                    models.Q(models.Q(("status", "FAILED"), _negated=True), ("failure_reason", "")),
                    _connector="OR",
                ),
                name="transactions_transaction_failed_with_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("nonce__isnull", True),
                        ("stage__in", ["REVIEW", "ACCEPTED"]),
                        ("transaction_hash__isnull", True),
                    ),
                    models.Q(
                        ("nonce__isnull", False),
                        ("signed_at__isnull", False),
                        ("stage__in", ["SIGNED", "BROADCAST", "MINED"]),
                        ("transaction_hash__isnull", False),
                        ("wallet__isnull", False),
                    ),
                    ("stage", "SETTLED"),
                    _connector="OR",
                ),
                name="transactions_transaction_signed_with_nonce_and_hash",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("block_hash__startswith", "0x"),
                        ("block_number__isnull", False),
                        ("stage", "MINED"),
                        ("succeeded_on_chain__isnull", False),
                        ("transaction_fee_blockchain_in_wei__isnull", False),
                    ),
                    models.Q(
                        ("block_hash", ""),
                        ("block_number__isnull", True),
                        ("stage__in", ["REVIEW", "ACCEPTED", "SIGNED", "BROADCAST"]),
                        ("succeeded_on_chain__isnull", True),
                        ("transaction_fee_blockchain_in_wei__isnull", True),
                    ),
                    ("stage", "SETTLED"),
                    _connector="OR",
                ),
                name="transactions_transaction_mined_with_its_block",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("stage", "REVIEW"), _negated=True),
                    models.Q(
                        ("approved_at__isnull", True),
                        ("kind", "payment"),
                        ("next_check_at__isnull", True),
                        ("wait_reason", ""),
                    ),
                    _connector="OR",
                ),
                name="transactions_transaction_in_review_waits_for_people_only",
            ),
        ),
        migrations.AddConstraint(
            model_name="accountpolicy",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_max_in_wei__isnull", True),
                    models.Q(
                        ("amount_max_in_wei__gt", 0),
                        (
                            "amount_max_in_wei__lte",
                            115792089237316195423570985008687907853269984665640564039457584007913129639935,
                        ),
                    ),
                    _connector="OR",
                ),
                name="transactions_accountpolicy_amount_max_within_uint256",
            ),
        ),
        migrations.AddConstraint(
            model_name="accountpolicy",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("daily_amount_max_in_wei__isnull", True),
                    models.Q(
                        ("daily_amount_max_in_wei__gt", 0),
                        (
                            "daily_amount_max_in_wei__lte",
                            115792089237316195423570985008687907853269984665640564039457584007913129639935,
                        ),
                    ),
                    _connector="OR",
                ),
                name="transactions_accountpolicy_daily_max_within_uint256",
            ),
        ),
        migrations.AddConstraint(
            model_name="accountpolicy",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("approval_above_in_wei__isnull", True),
                    models.Q(
                        ("approval_above_in_wei__gte", 0),
                        (
                            "approval_above_in_wei__lte",
                            115792089237316195423570985008687907853269984665640564039457584007913129639935,
                        ),
                    ),
                    _connector="OR",
                ),
                name="transactions_accountpolicy_approval_above_within_uint256",
            ),
        ),
        migrations.AddField(
            model_name="allowedrecipient",
            name="account",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="allowed_recipients",
                to="accounts.account",
            ),
        ),
        migrations.AddField(
            model_name="approval",
            name="decided_by",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="allowedrecipient",
            constraint=models.UniqueConstraint(
                fields=("account", "address"), name="transactions_allowedrecipient_once_for_each_account"
            ),
        ),
        migrations.AddConstraint(
            model_name="allowedrecipient",
            constraint=models.CheckConstraint(
                condition=models.Q(("address__regex", "^0x[0-9a-fA-F]{40}$")),
                name="transactions_allowedrecipient_address_well_formed",
            ),
        ),
        migrations.AddIndex(
            model_name="approval",
            index=models.Index(fields=["-decided_at", "transaction"], name="transactions_approvals_open"),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at__isnull", True), ("decided_by__isnull", True), ("verdict", "")),
                    models.Q(
                        ("decided_at__isnull", False),
                        ("decided_by__isnull", False),
                        ("verdict__in", ["approved", "refused"]),
                    ),
                    models.Q(("decided_at__isnull", False), ("decided_by__isnull", True), ("verdict", "withdrawn")),
                    _connector="OR",
                ),
                name="transactions_approval_decided_by_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason", ""), ("verdict", "refused"), _negated=True),
                name="transactions_approval_refused_with_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("above_in_wei__gte", 0),
                    (
                        "above_in_wei__lte",
                        115792089237316195423570985008687907853269984665640564039457584007913129639935,
                    ),
                ),
                name="transactions_approval_above_within_uint256",
            ),
        ),
    ]
