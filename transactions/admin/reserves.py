"""Reports of reserves: what was proved and what differs, with its rows; downloaded with their signatures."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, as_number
from accounts.services.verify import list_checked
from transactions.models import ReservesReport

SHOWN_MAX = 200
"""How many differences a page shows; the download has all."""


class ResultFilter(admin.SimpleListFilter):
    title = "result"
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("clean", "Everything adds up"), ("differs", "Something differs"), ("books", "Chain not compared")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ReservesReport]) -> QuerySet[ReservesReport]:
        match self.value():
            case "clean":
                return queryset.filter(differences_total=0, block_number__isnull=False)
            case "differs":
                return queryset.filter(differences_total__gt=0)
            case "books":
                return queryset.filter(block_number__isnull=True)
        return queryset


@admin.register(ReservesReport)
class ReservesReportAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "made_at",
        "result",
        "block_number",
        "signed",
        "owed_short",
        "held_short",
        "surplus_short",
    )
    list_filter = (ResultFilter, "made_at")
    change_form_template = "admin/transactions/reservesreport/change_form.html"
    change_list_template = "admin/transactions/reservesreport/change_list.html"
    search_fields = ("id",)
    search_help_text = "A report's number."
    ordering = ("-id",)
    fields = (
        "made_at",
        "result",
        "not_compared_because",
        "block_number",
        "block_hash_in_full",
        "owed",
        "held",
        "in_flight",
        "surplus",
        "checked",
        "differences",
        "signers",
        "statement_in_full",
    )
    readonly_fields = fields

    def find(self, term: str) -> Q:
        number = as_number(term)
        return Q(pk__in=()) if number is None else Q(pk=number)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReservesReport]:
        # The text may be megabytes; only a report's own page reads it.
        rows: QuerySet[ReservesReport] = super().get_queryset(request)
        return rows.defer("text")

    def get_fields(self, request: HttpRequest, obj: ReservesReport | None = None) -> Any:
        of_block = ("block_number", "block_hash_in_full", "held", "in_flight", "surplus")
        left_out = ("not_compared_because",) if obj is None or obj.is_compared else of_block
        return [name for name in self.fields if name not in left_out]

    def get_urls(self) -> list[URLPattern]:
        download = self.admin_site.admin_view(self.download_page)
        return [
            path("<int:report_id>/download/", download, name="transactions_reservesreport_download"),
            *super().get_urls(),
        ]

    def download_page(self, request: HttpRequest, report_id: int) -> HttpResponse:
        """Hand out a report as others check it: its text, what was signed of it, and the signatures."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = ReservesReport.objects.filter(pk=report_id).first()
        if row is None:
            raise Http404
        content = {"statement": row.statement, "signatures": row.signatures, "text": row.text}
        name = f"reserves-report-{row.pk}.json"
        return JsonResponse(content, headers={"Content-Disposition": f'attachment; filename="{name}"'})

    @admin.display(description="report", ordering="id")
    def number(self, report: ReservesReport) -> str:
        return f"#{report.pk}"

    @admin.display(description="result", ordering="differences_total")
    def result(self, report: ReservesReport) -> Any:
        if report.differences_total:
            return cells.pill(report.differences_in_words, "bad")
        return cells.pill("adds up", "good") if report.is_compared else cells.pill("chain not compared", "plain")

    @admin.display(description="chain not compared")
    def not_compared_because(self, report: ReservesReport) -> str:
        return report.not_compared

    @admin.display(description="block hash")
    def block_hash_in_full(self, report: ReservesReport) -> Any:
        return cells.hexadecimal(report.block_hash)

    @admin.display(description="owed to users", ordering="owed_in_wei")
    def owed_short(self, report: ReservesReport) -> Any:
        return cells.ether(report.owed_in_wei)

    @admin.display(description="held at the block", ordering="held_in_wei")
    def held_short(self, report: ReservesReport) -> Any:
        return cells.ether(report.held_in_wei)

    @admin.display(description="beyond what is owed")
    def surplus_short(self, report: ReservesReport) -> Any:
        return _mark_short(report, cells.ether(report.surplus_in_wei))

    @admin.display(description="owed to users")
    def owed(self, report: ReservesReport) -> Any:
        return cells.amount(report.owed_in_wei)

    @admin.display(description="held at the block")
    def held(self, report: ReservesReport) -> Any:
        return cells.amount(report.held_in_wei)

    @admin.display(description="in flight (chain less ledger)")
    def in_flight(self, report: ReservesReport) -> Any:
        return cells.amount(report.in_flight_in_wei)

    @admin.display(description="held beyond what is owed")
    def surplus(self, report: ReservesReport) -> Any:
        return _mark_short(report, cells.amount(report.surplus_in_wei))

    @admin.display(description="signed")
    def signed(self, report: ReservesReport) -> Any:
        return cells.pill("signed", "good") if report.is_signed else cells.pill("not yet", "plain")

    @admin.display(description="checked")
    def checked(self, report: ReservesReport) -> str:
        return list_checked(report.document["checked"])

    @admin.display(description="differences")
    def differences(self, report: ReservesReport) -> Any:
        found = report.document["differences"]
        if not found:
            return "none"
        left_out = report.differences_total - len(found[:SHOWN_MAX])
        more = f"and {left_out:,} more" if left_out else ""
        told = format_html_join("\n", '<pre class="desk-json">{}</pre>', ((_tell(row),) for row in found[:SHOWN_MAX]))
        return format_html("{}{}", told, more)

    @admin.display(description="signed by")
    def signers(self, report: ReservesReport) -> Any:
        if not report.is_signed:
            return "Not signed yet: a worker of queue money does that, within a minute."
        return format_html_join(
            "", "<div>{}</div><div>{}</div>",
            ((cells.hexadecimal(row["address"]), cells.hexadecimal(row["signature"])) for row in report.signatures),
        )  # fmt: skip

    @admin.display(description="what is signed")
    def statement_in_full(self, report: ReservesReport) -> Any:
        return cells.hexadecimal(report.statement)


def _mark_short(report: ReservesReport, words: Any) -> Any:
    """Return words about a surplus, marked where it is none."""
    is_short = report.surplus_in_wei is not None and report.surplus_in_wei < 0
    return format_html("{} {}", cells.pill("short", "bad"), words) if is_short else words


def _tell(difference: dict[str, Any]) -> str:
    """Return a difference on lines of its own, the rows that explain it below."""
    heading = f"{difference['subject']}: {difference['rule']}"
    judged = f"expected {difference['expected']}\nfound    {difference['found']}"
    return "\n".join([heading, judged, *(f"  {row}" for row in difference["rows"])])
