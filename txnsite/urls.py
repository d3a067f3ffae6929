"""Every URL of the site."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from txnsite.api import api
from txnsite.health import healthz, readyz

# The API comes first: its requests are the most, and a list is searched from its beginning.
urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", api.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("", include("accounts.urls")),
    path("", include("transactions.urls")),
    path("", include("tasks.urls")),
]
