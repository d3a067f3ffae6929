"""Django settings; every value that differs between installations comes from the environment (see README)."""

import datetime as dt
from pathlib import Path

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from txnsite.celery_settings import *  # noqa: F403  # Django reads them here
from txnsite.database.settings import database_settings
from txnsite.env import running_env
from txnsite.mail import parse_mail_url

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env = running_env(BASE_DIR)
VAR_DIR = Path(env.text("TXNSITE_VAR", str(BASE_DIR / "var")))

DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env.secret("SECRET_KEY")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]" if DEBUG else "")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "accounts",
    "transactions",
    "tasks",
    "txnsite",
    "accounts.admin_config.DeskAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_htmx",
    "ninja",
]

MIDDLEWARE = [
    "txnsite.middleware.ProblemsForPrograms",
    "txnsite.middleware.LimitBody",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "txnsite.middleware.PageSecurityPolicy",
    "txnsite.middleware.Session",
    "django.middleware.common.CommonMiddleware",
    "txnsite.middleware.SessionCsrf",
    "txnsite.middleware.SessionUser",
    "txnsite.middleware.PageMessages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "txnsite.middleware.PageHtmx",
]

ROOT_URLCONF = "txnsite.urls"
WSGI_APPLICATION = "txnsite.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Named places where a process stops or dies on purpose: only tests and drills set these (txnsite/faults.py).
FAULT_POINTS = env.text("FAULT_POINTS", "")
FAULT_DIR = Path(env.text("FAULT_DIR", str(VAR_DIR / "faults")))
FAULT_ROLE = env.text("FAULT_ROLE", "desk")


_engine = "txnsite.commit_points" if FAULT_POINTS else "txnsite.database"
DATABASES = {"default": database_settings(env, _engine)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": env.secret("CACHE_URL"),
        "KEY_PREFIX": "txnsite",
        "OPTIONS": {
            "SOCKET_TIMEOUT": 1,
            "SOCKET_CONNECT_TIMEOUT": 1,
            # JSON, so that whoever can write to the cache can't run code here.
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            # One immediate second try for a connection the server closed; an outage is handled where it is met.
            "CONNECTION_POOL_KWARGS": {"max_connections": 100, "retry": Retry(NoBackoff(), 1)},
        },
    },
}

# Independent servers, of which a majority must grant an account's lock; none means the cache (accounts/cache_locks.py).
LOCK_URLS = [url.strip() for url in env.secret("LOCK_URLS", "").split(",") if url.strip()]
if len(set(LOCK_URLS)) != len(LOCK_URLS) or not all(url.startswith(("redis://", "rediss://")) for url in LOCK_URLS):
    raise ImproperlyConfigured("LOCK_URLS must be different redis:// or rediss:// URLs, separated by commas.")

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "account-list"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
FORMAT_MODULE_PATH = ["txnsite.formats"]
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(VAR_DIR / "static")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- Security -------------------------------------------------------------------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.flag("SECURE_COOKIES", default=not DEBUG)
SESSION_COOKIE_AGE = 12 * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("BEHIND_PROXY", default=False) else None
SECURE_HSTS_SECONDS = env.integer("HSTS_SECONDS", 0)
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}
BODY_BYTES_MAX = 64 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_BYTES_MAX
LANGUAGE_COOKIE_HTTPONLY = True

# --- The desk -------------------------------------------------------------------------------------------------------
PAYMENT_FEE_IN_WEI = env.integer("PAYMENT_FEE_IN_WEI", 8_000_000_000_000_000)
CONFIRMATIONS = env.integer("CONFIRMATIONS", 10, minimum=1)
CHAIN_RPC_URLS = [url.strip() for url in env.secret("CHAIN_RPC_URLS").split(",") if url.strip()]
CHAIN_ID = env.integer("CHAIN_ID", minimum=1)
CHAIN_FINALITY = env.choice("CHAIN_FINALITY", ("depth", "finalized"), "depth")
CHAIN_RPC_BATCH_SIZE = env.integer("CHAIN_RPC_BATCH_SIZE", 500, minimum=1)
CHAIN_RPC_TIMEOUT_SECONDS = env.integer("CHAIN_RPC_TIMEOUT_SECONDS", 10, minimum=1)
# To each node, by all processes together, each call of a batch counted; 0 is no limit.
CHAIN_RPC_CALLS_PER_SECOND = env.integer("CHAIN_RPC_CALLS_PER_SECOND", 0)
CHAIN_LAG_BLOCKS_MAX = env.integer("CHAIN_LAG_BLOCKS_MAX", 3, minimum=1)
# So old a newest walked block says that the desk stands still; 0 is for chains that make blocks only on demand.
STANDSTILL_AFTER_SECONDS = env.integer("STANDSTILL_AFTER_SECONDS", 300)
# Under load, payments are gathered for up to this long; a single one is sent at once.
BROADCAST_GATHER_SECONDS = env.integer("BROADCAST_GATHER_MILLISECONDS", 800) / 1000
# What isn't mined after so many blocks is replaced at a higher fee.
REPLACE_AFTER_BLOCKS = env.integer("REPLACE_AFTER_BLOCKS", 5, minimum=1)
# What waits longer to be sent is called off; 0: nothing is.
EXPIRE_AFTER_HOURS = env.integer("EXPIRE_AFTER_HOURS", 0)
# The most the desk pays, of its own, to use up a nonce with a transaction that pays nobody.
CANCEL_FEE_MAX_IN_WEI = env.integer("CANCEL_FEE_MAX_IN_WEI", 2 * PAYMENT_FEE_IN_WEI)
# No transaction may have more gas (EIP-7825); a recipient that needs more can't be paid.
GAS_LIMIT_MAX = env.integer("GAS_LIMIT_MAX", 16_777_216, minimum=21_000)
# Staff are told when a wallet that pays holds less.
WALLET_BALANCE_LOW_IN_WEI = env.integer("WALLET_BALANCE_LOW_IN_WEI", 10**18)
# With so many payments waiting to be sent, further ones are refused for the moment (429); 0 means never.
QUEUE_MAX = env.integer("QUEUE_MAX", 50_000)
# Deposits are moved to a hot wallet once an address holds so much.
SWEEP_MIN_IN_WEI = env.integer("SWEEP_MIN_IN_WEI", 10**17)
INTAKE_BLOCKS_AT_ONCE = env.integer("INTAKE_BLOCKS_AT_ONCE", 20, minimum=1)
WALLET_IN_FLIGHT_MAX = env.integer("WALLET_IN_FLIGHT_MAX", 5_000, minimum=1)
KEYSTORE_DIR = Path(env.text("KEYSTORE_DIR", str(VAR_DIR / "keystore")))
# Read when a key is first used, so that a web process, which never signs, needs no passphrase.
KEYSTORE_PASSPHRASE = env.secret("KEYSTORE_PASSPHRASE", "")
# More keys, 0x and hex, separated by commas: for platforms that keep secrets as variables.
WALLET_PRIVATE_KEYS = env.secret("WALLET_PRIVATE_KEYS", "")
# Where a wallet's key is looked for, in this order; docs/keys.md says how a key management service is added.
SIGNERS = env.words("SIGNERS", "accounts.keys.keystore.KeystoreSource,accounts.keys.environment.EnvironmentSource")
ACCOUNT_LOCK_SECONDS = 3
ACCOUNT_LOCK_WAIT_SECONDS = 0.5
TRANSACTION_CACHE_SECONDS = 60
TRANSACTION_MISSING_CACHE_SECONDS = 30
PREFER_WAIT_SECONDS_MAX = 10
# Each waits on a thread of its own: keep it below the threads of a server process.
PREFER_WAITERS_MAX = env.integer("PREFER_WAITERS_MAX", 2)
TASK_RUN_KEPT = dt.timedelta(days=env.integer("TASK_RUN_KEPT_DAYS", 30, minimum=1))
# Who is told of alerts by e-mail; nobody is when there are none (accounts/services/alert_mail.py).
ALERT_EMAILS = env.words("ALERT_EMAILS", "")

# --- Mail -----------------------------------------------------------------------------------------------------------
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "txnsite@localhost")
if _email_url := env.secret("EMAIL_URL", ""):
    _mail_server = parse_mail_url(_email_url)
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST, EMAIL_PORT = _mail_server.host, _mail_server.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail_server.user, _mail_server.password
    EMAIL_USE_TLS, EMAIL_USE_SSL = _mail_server.starts_tls, _mail_server.is_tls
elif ALERT_EMAILS:
    raise ImproperlyConfigured("ALERT_EMAILS is set, but EMAIL_URL, the mail server, is not.")

# --- Celery: more in celery_settings.py -----------------------------------------------------------------------------
CELERY_BROKER_URL = env.secret("CELERY_BROKER_URL")
CELERY_RESULT_BACKEND = env.secret("CELERY_RESULT_URL", "") or None
CELERY_TIMEZONE = TIME_ZONE

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING"), "INFO")},
    "loggers": {
        # One line per beat tick and task is noise at one tick a second.
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
