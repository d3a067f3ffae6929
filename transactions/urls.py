"""Pages of payments and deposits."""

from django.urls import path

from transactions.views import deposits, payments

urlpatterns = [
    path("payments/new/", payments.payment_new, name="payment-new"),
    path("payments/confirm/", payments.payment_confirm, name="payment-confirm"),
    path("payments/<int:transaction_id>/", payments.payment_detail, name="payment-detail"),
    path("payments/<int:transaction_id>/cancel/", payments.payment_cancel, name="payment-cancel"),
    path("payments/<int:transaction_id>/live/", payments.payment_live, name="payment-live"),
    path("accounts/<int:account_id>/deposits/", deposits.deposit_list, name="deposit-list"),
    path("accounts/<int:account_id>/deposits/live/", deposits.deposits_live, name="deposits-live"),
]
