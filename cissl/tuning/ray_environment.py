"""The environment of a program that runs a sweep, set before it imports Ray: older versions read it only then."""

import os
import secrets

ADDRESS = os.environ.get("RAY_ADDRESS", "")
JOINED = ADDRESS.strip() != "local" and ADDRESS != ""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # without Ray's banner around our table
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # trials write their own records
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a resumed trial may end without a new evaluation
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see sweep.Interruptible
}
for name, value in QUIET.items():
    os.environ.setdefault(name, value)
if not JOINED:
    os.environ.pop("RAY_ADDRESS", None)  # with "local" Ray would start a cluster that listens on all interfaces
    # Our own cluster listens on the loopback interface only, and its token exists only in this process. By default Ray
    # listens on all interfaces and leaves a token file, which switches authentication on in every later `ray start`.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
