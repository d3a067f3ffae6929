"""Pages of payments."""

from django.urls import path

from transactions import views

urlpatterns = [
    path("payments/new/", views.payment_new, name="payment-new"),
    path("payments/confirm/", views.payment_confirm, name="payment-confirm"),
    path("payments/<int:transaction_id>/", views.payment_detail, name="payment-detail"),
    path("payments/<int:transaction_id>/cancel/", views.payment_cancel, name="payment-cancel"),
    path("payments/<int:transaction_id>/live/", views.payment_live, name="payment-live"),
]
