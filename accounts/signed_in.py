"""What every page behind the sign-in has in common."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from accounts.models import User

P = ParamSpec("P")


class PageRequest(HttpRequest):
    """A request as pages behind the sign-in see it (for type checks only)."""

    user: User
    htmx: HtmxDetails


Page = Callable[Concatenate[PageRequest, P], HttpResponse]
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def signed_in(page: Page[P]) -> View[P]:
    """Show a page to people who are signed in and ask others to; no browser or proxy keeps a copy of it.

    Without a copy, the back button shows no balances after signing out, and never an old state of a payment.
    """

    @wraps(page)
    def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if request.user.is_authenticated:
            return page(cast(PageRequest, request), *args, **kwargs)
        htmx = cast(PageRequest, request).htmx
        if htmx:
            # A fragment of a page whose session ended: the whole page goes to sign in, and comes back.
            to_login = redirect_to_login(htmx.current_url_abs_path or "/")
            return HttpResponseClientRedirect(to_login.url)
        return redirect_to_login(request.get_full_path())

    return never_cache(view)
