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
    meaning: str,
    back: str,
) -> HttpResponse:
    """Show a form that a button leads to.

    :param verb: what the form's own button does.
    :param back: the page for who decides against it.
    """
    frame = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts, "media": model_admin.media}
    context = {"title": title, "verb": verb, "meaning": meaning, "back": back, "form": form}
    return TemplateResponse(request, "admin/transactions/ask.html", {**frame, **context})
