"""Uses a running server through the Python SDK of openapi-python-client.

Called by scripts/test-sdk as `python_client.py URL PASSWORD EXPIRE`, which explains the arguments and the output.
"""

from shoko_auth_client import AuthenticatedClient, Client
from shoko_auth_client.api.auth import (
    api_auth_change_password_post,
    api_auth_delete,
    api_auth_get,
    api_auth_post,
    api_v3_auth_generate_token_post,
)
from shoko_auth_client.api.user import (
    api_v3_user_by_user_id_delete,
    api_v3_user_by_user_id_get,
    api_v3_user_by_user_id_patch,
    api_v3_user_current_get,
    api_v3_user_get,
    api_v3_user_post,
)
from shoko_auth_client.models import (
    CoreAuthUser,
    CreateUserBody,
    GenerateTokenRequest,
    JsonPatchOperation,
    JsonPatchOperationOp,
    MvcProblemDetails,
)
from steps import PASSWORD, URL, check, expire_key, step


def with_key(key):
    return AuthenticatedClient(base_url=URL, token=key, raise_on_unexpected_status=True)


def call(operation, *arguments, client=None, **named):
    """Calls the operation, which must succeed, and returns the body of its response."""
    anonymous = Client(base_url=URL, raise_on_unexpected_status=True)
    response = operation.sync_detailed(*arguments, client=client or anonymous, **named)
    check(response.status_code < 300, f"{response.status_code}: {response.parsed}")
    return response.parsed


def rejected(status, operation, *arguments, client=None, **named):
    """Returns the problem with which the server rejects the operation."""
    response = operation.sync_detailed(*arguments, client=client or Client(base_url=URL), **named)
    problem = response.parsed
    check(response.status_code == status, f"expected {status}, got {response.status_code}: {problem}")
    check(isinstance(problem, MvcProblemDetails) and problem.status == status, f"the problem is {problem}")
    return problem


def login(password, device):
    return CoreAuthUser(user="Default", pass_=password, device=device)


def log_in(password, device):
    return str(call(api_auth_post, body=login(password, device)).apikey)


with step("log in"):
    laptop = log_in(PASSWORD, "laptop")
    user = call(api_v3_user_current_get, client=with_key(laptop))
    check(user.username == "Default" and user.is_admin, f"the key belongs to {user}")

with step("wrong password"):
    rejected(401, api_auth_post, body=login("not the password", "laptop"))

with step("validation problem"):
    problem = rejected(400, api_auth_post, body=login(PASSWORD, " "))
    check("device" in problem.errors, f"errors is {problem.errors}")

with step("same device"):
    check(log_in(PASSWORD, "laptop") == laptop, "it is another key")

with step("second device"):
    phone = log_in(PASSWORD, "phone")
    check(phone != laptop, "it is the same key")

with step("list"):
    devices = sorted(key.device for key in call(api_auth_get, client=with_key(laptop)))
    check(devices == ["laptop", "phone"], f"the devices are {devices}")

with step("revoke"):
    call(api_auth_delete, apikey=phone)
    rejected(401, api_v3_user_current_get, client=with_key(phone))

with step("change password"):
    call(api_auth_change_password_post, client=with_key(laptop), body="the second password")
    rejected(401, api_v3_user_current_get, client=with_key(laptop))
    rejected(401, api_auth_post, body=login(PASSWORD, "laptop"))
    client = with_key(log_in("the second password", "laptop"))

with step("users"):
    bob = call(api_v3_user_post, client=client, body=CreateUserBody(username="bob", password="bobs long password"))
    check("bob" in [user.username for user in call(api_v3_user_get, client=client)], "bob is not listed")
    patch = [JsonPatchOperation(op=JsonPatchOperationOp.REPLACE, path="/Username", value="rob")]
    renamed = call(api_v3_user_by_user_id_patch, bob.id, client=client, body=patch)
    check(renamed.username == "rob", f"the name is {renamed.username}")
    call(api_v3_user_by_user_id_delete, bob.id, client=client)
    rejected(404, api_v3_user_by_user_id_get, bob.id, client=client)

with step("expiry"):
    request = GenerateTokenRequest(device="script", expires="1m")
    issued = call(api_v3_auth_generate_token_post, client=client, body=request)
    call(api_v3_user_current_get, client=with_key(str(issued.token)))
    expire_key(issued.expires_at)
    rejected(401, api_v3_user_current_get, client=with_key(str(issued.token)))
    call(api_v3_user_current_get, client=client)
