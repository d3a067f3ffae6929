"""What all pages of the admin share: an audit event for each change, rows that nobody edits, lists that stay fast."""

import re
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.paginator import Paginator
from django.db import models
from django.db import transaction as db_transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode

from accounts.models import User
from accounts.services.audit import record_audit, record_audit_of_each

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

COUNTED_MAX = 10_000
BIGINT_MAX = 2**63 - 1
_SECRETS = re.compile("password|secret|token|passphrase", re.IGNORECASE)
_TEXT_LENGTH_MAX = 300


def staff_user(request: HttpRequest) -> User:
    """Return who is at the admin; its views let nobody else in."""
    assert isinstance(request.user, User)
    return request.user


class CappedPaginator(Paginator[Any]):
    """Count up to 10,000 rows and no further: beyond that, people search instead of turning pages."""

    @cached_property
    def count(self) -> int:
        return min(self._found, COUNTED_MAX)

    @property
    def is_capped(self) -> bool:
        return self._found > COUNTED_MAX

    @cached_property
    def _found(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        # One row more than is shown tells whether there are more, at the price of a bounded scan.
        return rows.order_by()[: COUNTED_MAX + 1].count()


class DeskAdmin(ModelAdmin):
    """A list that costs the same number of queries for five rows and for five million."""

    paginator = CappedPaginator
    show_full_result_count = False
    # They would count every filter's rows, over the whole table.
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
    search_fields: ClassVar[tuple[str, ...]] = ()

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the row's audit trail, which tells more than Django's own log; to that, who may not see it."""
        if not staff_user(request).has_perm("accounts.view_auditevent"):
            return super().history_view(request, object_id, extra_context)
        query = urlencode({"target_type": self.opts.label_lower, "target_id": unquote(object_id)})
        return HttpResponseRedirect(f"{reverse('admin:accounts_auditevent_changelist')}?{query}")

    def offers(self, request: HttpRequest) -> dict[str, bool]:
        """Return what somebody may do, as `may_…`, for the buttons on the list and on a row's page."""
        return {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**self.offers(request), **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        offers = self.offers(request)
        return super().changeform_view(request, object_id, form_url, {**offers, **(extra_context or {})})

    def find(self, term: str) -> Q | None:
        """Return the rows that a search means; None when the model's `search_fields` decide."""
        return None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        wanted = self.find(search_term.strip()) if search_term.strip() else None
        if wanted is None:
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(wanted), False


class ReadOnlyAdmin(DeskAdmin):
    """Rows that nobody adds, changes or deletes here, whatever their permissions: the database would refuse most."""

    change_form_template = "admin/desk_read_only.html"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AuditedAdmin(DeskAdmin):
    """Rows that staff edit; each change leaves an audit event in the same database transaction."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        changes = changes_of(form)
        if changes or not change:
            self.record(request, form.instance, "changed" if change else "added", changes)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.record(request, obj, "deleted", {"was": str(obj)})
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with db_transaction.atomic():
            for obj in queryset:
                self.record(request, obj, "deleted", {"was": str(obj)})
            super().delete_queryset(request, queryset)

    def record(self, request: HttpRequest, obj: models.Model, verb: str, details: dict[str, Any]) -> None:
        """Record an audit event like `group.changed`."""
        record_audit(actor=staff_user(request), action=self._action(verb), target=obj, details=details)

    def record_each(self, request: HttpRequest, queryset: QuerySet[Any], verb: str) -> None:
        """Record an audit event of each row."""
        record_audit_of_each(actor=staff_user(request), action=self._action(verb), targets=queryset)

    def _action(self, verb: str) -> str:
        return f"{self.opts.model_name}.{verb}"


def changes_of(form: forms.Form) -> dict[str, Any]:
    """Return the form's changed fields as `{name: [old, new]}`; of a secret only that it was changed."""
    changes: dict[str, Any] = {}
    for name in form.changed_data:
        field = form.fields[name]
        if _SECRETS.search(name) or isinstance(field.widget, forms.PasswordInput):
            changes[name] = "changed"
            continue
        old, new = _spoken(field, form.get_initial_for_field(field, name)), _spoken(field, form.cleaned_data[name])
        if old != new:
            changes[name] = [old, new]
    return changes


def _spoken(field: forms.Field, value: Any) -> Any:
    """Return a field's value in words that JSON can hold: rows by name, not by key."""
    if isinstance(value, bool | int | None):
        # The key of a row is an int too.
        if value is None or not isinstance(field, forms.ModelChoiceField):
            return value
        value = field.queryset.filter(pk=value).first() if field.queryset is not None else value
    if isinstance(value, list | tuple | set | QuerySet):
        return sorted(str(item) for item in value)
    return str(value)[:_TEXT_LENGTH_MAX]


def as_number(term: str) -> int | None:
    """Return a search term as a row's number, if it can be one; people also write it `#12`."""
    digits = term.removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None
