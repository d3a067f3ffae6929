"""Find what an account has paid in a day; built without holding up payments."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("transactions", "0006_policy_rules")]
    operations = [
        AddIndexConcurrently(
            model_name="transaction",
            index=models.Index(
                condition=models.Q(("kind", "payment"), models.Q(("status", "FAILED"), _negated=True)),
                fields=["user_account", "accepted_at"],
                name="transactions_by_account_time",
            ),
        ),
    ]
