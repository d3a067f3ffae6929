"""Pages of accounts."""

from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.generic import RedirectView

from accounts import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="account-list"), name="home"),
    path("sign-in/", views.SignInView.as_view(), name="login"),
    path("sign-out/", LogoutView.as_view(), name="logout"),
    path("accounts/", views.account_list, name="account-list"),
    path("accounts/<int:account_id>/", views.account_detail, name="account-detail"),
]
