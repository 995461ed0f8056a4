"""Uses a running server through the Python SDK of openapi-generator.

Called by scripts/test-sdk as `python.py URL PASSWORD EXPIRE`, which explains the arguments and the output.
"""

from shoko_auth_sdk import (
    ApiClient,
    AuthApi,
    Configuration,
    CoreAuthUser,
    GenerateTokenRequest,
    JsonPatchOperation,
    MvcProblemDetails,
    CreateUserBody,
    UserApi,
)
from shoko_auth_sdk.exceptions import ApiException
from steps import PASSWORD, URL, check, expire_key, step


def client(key=None):
    return ApiClient(Configuration(host=URL, api_key={"ApiKey": key} if key else None))


def auth(key=None):
    return AuthApi(client(key))


def users(key):
    return UserApi(client(key))


def log_in(password, device):
    # `pass` is a keyword in Python, so the generator calls it `var_pass`.
    login = CoreAuthUser(user="Default", var_pass=password, device=device)
    return str(auth().api_auth_post(login).apikey)


def rejected(status, call, *arguments):
    """Returns the problem with which the server rejects the call."""
    try:
        response = call(*arguments)
    except ApiException as error:
        problem = error.data
    else:
        raise AssertionError(f"expected {status}, got {response!r}")
    check(isinstance(problem, MvcProblemDetails), f"the exception contains {problem!r}")
    check(problem.status == status and problem.title, f"the problem is {problem!r}")
    return problem


with step("log in"):
    laptop = log_in(PASSWORD, "laptop")
    user = users(laptop).api_v3_user_current_get()
    check(user.username == "Default" and user.is_admin, f"the key belongs to {user!r}")

with step("wrong password"):
    rejected(401, log_in, "not the password", "laptop")

with step("validation problem"):
    problem = rejected(400, log_in, PASSWORD, " ")
    check("device" in (problem.errors or {}), f"errors is {problem.errors!r}")

with step("same device"):
    check(log_in(PASSWORD, "laptop") == laptop, "it is another key")

with step("second device"):
    phone = log_in(PASSWORD, "phone")
    check(phone != laptop, "it is the same key")

with step("list"):
    devices = sorted(key.device for key in auth(laptop).api_auth_get())
    check(devices == ["laptop", "phone"], f"the devices are {devices}")

with step("revoke"):
    auth().api_auth_delete(apikey=phone)
    rejected(401, users(phone).api_v3_user_current_get)

with step("change password"):
    auth(laptop).api_auth_change_password_post("the second password")
    rejected(401, users(laptop).api_v3_user_current_get)
    rejected(401, log_in, PASSWORD, "laptop")
    key = log_in("the second password", "laptop")

with step("users"):
    bob = users(key).api_v3_user_post(CreateUserBody(username="bob", password="bobs long password"))
    check("bob" in [user.username for user in users(key).api_v3_user_get()], "bob is not listed")
    patch = [JsonPatchOperation(op="replace", path="/Username", value="rob")]
    check(users(key).api_v3_user_by_user_id_patch(bob.id, patch).username == "rob", "the name has not changed")
    users(key).api_v3_user_by_user_id_delete(bob.id)
    rejected(404, users(key).api_v3_user_by_user_id_get, bob.id)

with step("expiry"):
    issued = auth(key).api_v3_auth_generate_token_post(GenerateTokenRequest(device="script", expires="1m"))
    users(str(issued.token)).api_v3_user_current_get()
    expire_key(issued.expires_at)
    rejected(401, users(str(issued.token)).api_v3_user_current_get)
    users(key).api_v3_user_current_get()
