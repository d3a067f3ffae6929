"""Find what was called off and isn't over yet; built without holding up payments."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("transactions", "0013_arrivals_of_sweeps")]
    operations = [
        AddIndexConcurrently(
            model_name="transaction",
            index=models.Index(
                condition=models.Q(("cancel_requested_at__isnull", False), ("stage__in", ["REVIEW", "ACCEPTED"])),
                fields=["id"],
                name="transactions_cancel_wished",
            ),
        ),
    ]
