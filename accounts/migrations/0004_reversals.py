from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="account",
            name="accounts_account_kind_known",
        ),
        migrations.RemoveConstraint(
            model_name="account",
            name="accounts_account_one_for_each_system_kind",
        ),
        migrations.RemoveConstraint(
            model_name="journal",
            name="accounts_journal_kind_known",
        ),
        migrations.AlterField(
            model_name="account",
            name="kind",
            field=models.CharField(
                choices=[
                    ("user", "user"),
                    ("hot_wallet", "hot wallet"),
                    ("fee_income", "fee income"),
                    ("network_fees", "network fees"),
                    ("external_funding", "external funding"),
                    ("losses", "losses"),
                ],
                default="user",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="journal",
            name="kind",
            field=models.CharField(
                choices=[
                    ("settlement", "payment settled"),
                    ("adjustment", "credit or debit by staff"),
                    ("wallet_funding", "hot wallet funded"),
                    ("reversal", "settlement reversed"),
                    ("loss", "loss covered by the desk"),
                    ("recovery", "covered loss recovered"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["user", "hot_wallet", "fee_income", "network_fees", "external_funding", "losses"])
                ),
                name="accounts_account_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind__in", ["fee_income", "network_fees", "external_funding", "losses"])),
                fields=("kind",),
                name="accounts_account_one_for_each_system_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="journal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["settlement", "adjustment", "wallet_funding", "reversal", "loss", "recovery"])
                ),
                name="accounts_journal_kind_known",
            ),
        ),
    ]
