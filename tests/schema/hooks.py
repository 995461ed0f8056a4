"""Hooks for schemathesis: they log in, create users, and describe how the server reads its input.

Loaded by scripts/test-contract with the server's URL in CONTRACT_URL and the password of its first administrator, "keeper",
in CONTRACT_PASSWORD. The keeper creates the other users and is never changed. All checked requests come from the user
"caller".
"""

import base64
import itertools
import os
from collections.abc import MutableMapping

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import UnsupportedMethodResponse

URL = os.environ["CONTRACT_URL"]
KEEPER, KEEPER_ID = "keeper", 1
# schemathesis.toml contains these three, too.
CALLER, PASSWORD, KEY_IN_USE = "caller", "Tr0mbone-lake", "the key in use"

session = requests.Session()
numbers = itertools.count(1)
turns = itertools.count(1)


def call(method, path, key=None, expect=(200,), **more):
    response = session.request(method, URL + path, headers={"apikey": key} if key else {}, timeout=30, **more)
    if response.status_code not in expect:
        raise RuntimeError(f"{method} {path} returned {response.status_code}: {response.text}")
    return response


def log_in(user, password, expect=(200,)):
    login = {"user": user, "pass": password, "device": "schemathesis"}
    return call("POST", "/api/auth", json=login, expect=expect).json().get("apikey")


keeper_key = log_in(KEEPER, os.environ["CONTRACT_PASSWORD"])


def create_user(name, admin):
    """Creates a user in place of any user with this name, and returns the id."""
    for user in call("GET", "/api/v3/User", keeper_key).json():
        if user["Username"].lower() == name:
            call("DELETE", f"/api/v3/User/{user['ID']}", keeper_key)
    user = {"Username": name, "Password": PASSWORD, "IsAdmin": admin}
    return call("POST", "/api/v3/User", keeper_key, json=user).json()["ID"]


# The key of the caller. None after a call that may have revoked it or changed the caller.
key = None


def key_in_use():
    """Returns a valid key of the caller, who is an administrator. If necessary, it logs in again or creates the caller."""
    global key
    if key is None:
        key = log_in(CALLER, PASSWORD, expect=(200, 401))
    if key is None or "admin" not in call("GET", "/api/auth/verify", key).headers["Remote-Groups"]:
        create_user(CALLER, admin=True)
        key = log_in(CALLER, PASSWORD)
    return key


other_id = KEEPER_ID + 1


def other_user():
    """Returns the id of an existing user other than the keeper."""
    global other_id
    if call("GET", f"/api/v3/User/{other_id}", keeper_key, expect=(200, 404)).status_code == 404:
        other_id = create_user("other", admin=False)
    return other_id


@schemathesis.auth(refresh_interval=None)
class Key:
    def get(self, case, context):
        # Where the key is optional, every second request has none.
        security = context.operation.definition.raw.get("security", [])
        is_optional = {} in security or not security
        return None if is_optional and next(numbers) % 2 else KEY_IN_USE

    def set(self, case, data, context):
        schemes = {name for scheme in context.operation.definition.raw.get("security", []) for name in scheme}
        case.headers["apikey" if "ApiKey" in schemes else "Authorization"] = data


@schemathesis.hook
def before_call(context, case, kwargs):
    """Replaces placeholders by their current values."""
    in_use = key_in_use()
    if next(turns) % 2:
        use_existing(case, in_use)
    for part in (case.headers, case.query, case.path_parameters, case.body):
        if not isinstance(part, MutableMapping):
            continue
        for name, value in part.items():
            if value == KEY_IN_USE:
                part[name] = credentials(case.operation, in_use) if name == "Authorization" else in_use
            elif name in ("userID", "id") and "/keys/{id}" not in case.operation.path and is_keepers(value):
                part[name] = other_user()
            elif name == "Username" and value in ("Rob", "Default"):  # examples in the document; each name must be new
                part[name] = f"{value} {next(numbers)}"


def is_number(value):
    return str(value).isdecimal()


def is_text(value):
    return isinstance(value, str) and 1 <= len(value) <= 255


def listed_key(path, key):
    """Returns the id of a key in a list, other than the key that requests it."""
    return next(found["id"] for found in call("GET", path, key).json()["list"] if not found["isCurrent"])


def use_existing(case, in_use):
    """Replaces valid values of the account's API by those of existing keys, links and passwords."""
    operation, body, path = f"{case.method} {case.operation.path}", case.body, case.path_parameters
    has = lambda *names: isinstance(body, dict) and set(body) == set(names) and all(map(is_text, body.values()))
    if operation == "POST /api/account/session" and has("user", "password"):
        body.update(user=CALLER, password=PASSWORD)
    elif operation == "POST /api/account/password" and has("currentPassword", "newPassword"):
        body.update(currentPassword=PASSWORD, newPassword=PASSWORD)
    elif operation == "POST /api/account/link" and has("token", "password"):
        link = call("POST", f"/api/account/users/{other_user()}/link", keeper_key, expect=(201,)).json()
        body.update(token=link["path"].rsplit("/", 1)[1], password=PASSWORD)
    elif operation == "DELETE /api/account/keys/{id}" and is_number(path.get("id")):
        call("POST", "/api/auth", json={"user": CALLER, "pass": PASSWORD, "device": "extra"})
        path["id"] = listed_key("/api/account/keys", in_use)
    elif operation == "DELETE /api/account/users/{id}/keys/{key}" and all(map(is_number, path.values())):
        path["id"] = create_user("keyed", admin=False)
        log_in("keyed", PASSWORD)
        path["key"] = listed_key(f"/api/account/users/{path['id']}/keys", keeper_key)


def credentials(operation, key):
    """Returns the Authorization header of Zulip's clients, in the basic scheme, or of Zettelstore's, a bearer token."""
    if "/api/v1/" in operation.path:
        return "Basic " + base64.b64encode(f"{CALLER}:{key.replace('-', '')}".encode()).decode()
    return f"Bearer {key}"


def is_keepers(value):
    try:
        return int(str(value)) == KEEPER_ID
    except ValueError:
        return False


@schemathesis.hook
def after_call(context, case, response):
    global key
    if case.method != "GET" and response.status_code < 300:
        key = None


MEMBERS = ["Username", "IsAdmin", "CommunitySites", "RestrictedTags", "Avatar", "PlexUsernames", "WebUI_Settings"]
VALUES = st.one_of(st.text(), st.booleans(), st.lists(st.one_of(st.text(), st.integers()), max_size=3))
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "replace", "remove", "test", "move"]),
        "path": st.builds("/{}{}".format, st.sampled_from(MEMBERS), st.sampled_from(["", "", "/0", "/-"])),
        "value": VALUES,
    }
)


@schemathesis.hook.apply_to(method="PATCH")
def flatmap_body(context, body):
    """Generates JSON Patches whose paths exist, which the document cannot express."""
    return st.one_of(st.just(body), st.lists(OPERATIONS, max_size=3)) if isinstance(body, list) else st.just(body)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Ignores failures that are differences on purpose (docs/contract.md, docs/dialects.md)."""
    if isinstance(failure, AcceptedNegativeData):
        return not fits_as_read(case)
    if isinstance(failure, UnsupportedMethodResponse) and case.path.startswith("/api/authz/"):
        return False  # proxies send the method of the original request
    if isinstance(failure, UnsupportedMethodResponse) and case.path in ("/a", "/x"):
        return failure.failure_reason != "missing_allow_header"  # Zettelstore's 405 has none
    return True


def fits_as_read(case):
    """Returns whether the request matches the document as the server reads it: numbers and booleans count as text where
    the document wants text, and empty query parameters and an optional body `null` count as absent."""
    query = case.operation.get_parameter_set(ParameterLocation.QUERY)
    sent = {name: value for name, value in case.query.items() if name in query and str(value or "").strip()}
    body = case.operation.get_body_for_media_type(case.media_type)
    is_absent = case.body is None and not case.operation.definition.raw.get("requestBody", {}).get("required")
    body_fits = not body or is_absent or body.is_valid(as_text(case.body, body.raw_schema))
    return body_fits and query.get_strict_validator().is_valid(sent)


def as_text(value, schema):
    if isinstance(value, dict):
        members = schema.get("properties", {})
        return {name: as_text(member, members.get(name, {})) for name, member in value.items()}
    takes_text = "string" in schema.get("type", ())
    if takes_text and isinstance(value, bool):
        return str(value).lower()
    return str(value) if takes_text and isinstance(value, int | float) else value
