"""API tokens: made for a user's program, shown once, revoked with a reason."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from accounts.admin import cells
from accounts.admin.asking import ask
from accounts.admin.base import DeskAdmin, as_number, staff_user
from accounts.admin.forms import ReasonForm
from accounts.exceptions import AccountsError
from accounts.models import ApiToken, User
from accounts.services.tokens import create_token, revoke_token

AT_ONCE_MAX = 100


class TokenForm(forms.ModelForm[ApiToken]):
    """A new token; its text is made, never typed."""

    class Meta:
        model = ApiToken
        fields = ("user", "name")
        help_texts = {"name": "What it is for, to tell tokens apart.", "user": "Who it speaks for: it can pay as them."}


class RevokedFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "revoked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "In use"), ("yes", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        if self.value() in ("yes", "no"):
            return queryset.filter(revoked_at__isnull=self.value() == "no")
        return queryset


@admin.register(ApiToken)
class TokenAdmin(DeskAdmin):
    """A token is made and revoked, never changed or deleted: the audit trail names it."""

    form = TokenForm
    list_display = ("name", "user_link", "beginning", "created_at", "revoked_at")
    list_filter = (RevokedFilter, "created_at")
    list_select_related = ("user",)
    search_fields = ("name",)
    search_help_text = "The token's name or how it begins, or its user's name."
    ordering = ("-id",)
    autocomplete_fields = ("user",)
    readonly_fields = ("user_link", "beginning", "created_at", "revoked_at")
    actions = ("revoke",)

    def find(self, term: str) -> Q:
        users = User.objects.filter(username__icontains=term)
        return Q(name__icontains=term) | Q(start=term[:12]) | Q(user__in=users)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return ("user", "name") if obj is None else ("user_link", "name", "beginning", "created_at", "revoked_at")

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("accounts.revoke_apitoken")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.filter(is_active=True)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Make the token through its service; its text goes to the answer of this request and nowhere else."""
        token = create_token(user=obj.user, name=obj.name, actor=staff_user(request))
        obj.pk, obj.start = token.row.pk, token.row.start
        form.token_text = token.text

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        request.token_text = form.token_text  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        """Show the token in the answer itself: a message would put it into a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"API token “{obj.name}” of {obj.user}",
            "token": request.token_text,  # type: ignore[attr-defined]
            "row": obj,
        }
        response = TemplateResponse(request, "admin/accounts/apitoken/created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def get_urls(self) -> list[URLPattern]:
        page = path("revoke/", self.admin_site.admin_view(self.revoke_page), name="accounts_apitoken_revoke")
        return [page, *super().get_urls()]

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: AT_ONCE_MAX + 1])
        if len(ids) > AT_ONCE_MAX:
            self.message_user(request, f"Choose at most {AT_ONCE_MAX} tokens at once.", messages.ERROR)
            return None
        return HttpResponseRedirect(f"{reverse('admin:accounts_apitoken_revoke')}?{urlencode({'id': ids}, doseq=True)}")

    def revoke_page(self, request: HttpRequest) -> HttpResponse:
        """Ask why the tokens in the address (`?id=1&id=2`) are to be revoked, and revoke them."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        numbers = [n for text in request.GET.getlist("id")[:AT_ONCE_MAX] if (n := as_number(text)) is not None]
        tokens = list(ApiToken.objects.select_related("user").filter(pk__in=numbers, revoked_at=None).order_by("pk"))
        back = HttpResponseRedirect(reverse("admin:accounts_apitoken_changelist"))
        if not tokens:
            self.message_user(request, "Choose at least one token that is in use.", messages.ERROR)
            return back
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            for token in tokens:
                self._revoke(request, token, form.cleaned_data["reason"])
            return back
        title = f"Revoke {tokens[0]}" if len(tokens) == 1 else f"Revoke {len(tokens)} tokens"
        context: dict[str, Any] = {"title": title, "verb": "Revoke", "back": back.url, "tokens": tokens}
        return ask(self, request, form, template="admin/accounts/apitoken/revoke.html", **context)

    def _revoke(self, request: HttpRequest, token: ApiToken, reason: str) -> None:
        try:
            is_known_everywhere = revoke_token(actor=staff_user(request), token_id=token.pk, reason=reason)
        except AccountsError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(request, f"Revoked: {token} of {token.user}.", messages.SUCCESS)
        if not is_known_everywhere:
            self.message_user(
                request, "The cache does not answer: it may be accepted for up to a minute more.", messages.WARNING
            )

    @admin.display(description="user", ordering="user__username")
    def user_link(self, token: ApiToken) -> Any:
        return cells.link_to(User, token.user_id, token.user)

    @admin.display(description="begins with")
    def beginning(self, token: ApiToken) -> Any:
        return cells.hexadecimal(f"{token.start}…")
