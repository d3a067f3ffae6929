"""API tokens: who may speak for whom."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class ApiToken(models.Model):
    """A bearer token (RFC 6750) of a user's program; only its SHA-256 is kept, it is shown once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    start = models.CharField(max_length=12, editable=False, help_text="How the token begins, to tell it apart.")
    token_hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "API token"
        constraints = [models.UniqueConstraint(name="accounts_apitoken_hash_used_once", fields=["token_hash"])]

    def __str__(self) -> str:
        return f"{self.name} ({self.start}…)"
