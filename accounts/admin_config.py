"""Tells Django which site the admin is; apart from the site itself, since it is read before any model is."""

from django.contrib.admin.apps import AdminConfig


class DeskAdminConfig(AdminConfig):
    default_site = "accounts.admin_site.DeskAdminSite"
