from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    """In a transaction of its own: journals can be posted while it looks at those that are there."""

    dependencies = [("accounts", "0007_missing")]

    operations = [ValidateConstraint(model_name="journal", name="accounts_journal_kind_known")]
