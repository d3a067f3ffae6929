"""The page between a button and its effect: what it means, and why it is done."""

from typing import Any

from django import forms
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


def ask(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    form: forms.Form,
    *,
    title: str,
    verb: str,
    back: str,
    template: str = "admin/ask.html",
    **context: Any,
) -> HttpResponse:
    """Show a form that a button leads to.

    :param verb: what the form's own button does.
    :param back: the page for who decides against it.
    :param template: one that extends `admin/ask.html`, which itself shows a `meaning`.
    """
    frame = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts, "media": model_admin.media}
    own = {"title": title, "verb": verb, "back": back, "form": form}
    return TemplateResponse(request, template, {**frame, **own, **context})
