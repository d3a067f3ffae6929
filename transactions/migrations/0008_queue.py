"""Let the queue of payments have a limit."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transactions", "0007_daily_amounts")]
    operations = [
        migrations.CreateModel(
            name="Queue",
            fields=[
                ("id", models.SmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("full_since", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="transactions_queue_one_row")
                ],
            },
        ),
    ]
