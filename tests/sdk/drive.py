"""Uses a running server through the Python SDK generated from openapi/openapi.json.

Called by scripts/test-sdk as `drive.py URL PASSWORD` with the password of the administrator "Default". Prints one line for
each step and stops at the first that fails.
"""

import sys
from contextlib import contextmanager

from shoko_auth_client import (
    ApiClient,
    AuthApi,
    Configuration,
    CoreAuthUser,
    GenerateTokenRequest,
    MvcProblemDetails,
    UserApi,
    UserBody,
)
from shoko_auth_client.exceptions import BadRequestException, NotFoundException, UnauthorizedException

USER = "Default"
URL, FIRST_PASSWORD = sys.argv[1:]
SECOND_PASSWORD = "the second password"

passed = 0


class Failure(Exception):
    """A step had an unexpected result."""


@contextmanager
def step(name):
    global passed
    try:
        yield
    except Exception as error:
        print(f"FAILED  {name}: {type(error).__name__}: {error}")
        print(f"{passed} passed, 1 failed")
        sys.exit(1)
    print(f"ok      {name}")
    passed += 1


def check(condition, message):
    if not condition:
        raise Failure(message)


def client(key=None):
    """Returns an SDK client that sends `key` in the header `apikey`."""
    return ApiClient(Configuration(host=URL, api_key={"ApiKey": key} if key else None))


def log_in(password, device):
    # `pass` is a keyword in Python, so the generator calls it `var_pass`.
    response = AuthApi(client()).api_auth_post(CoreAuthUser(user=USER, var_pass=password, device=device))
    return str(response.apikey)


def change_password(key, password):
    AuthApi(client(key)).api_auth_change_password_post(password)


def log_out(key):
    AuthApi(client()).api_auth_delete(apikey=key)


def current_user(key):
    return UserApi(client(key)).api_v3_user_current_get()


def rejected(exception, status, call, *arguments):
    """Asserts that the server rejects the call, and returns the problem."""
    try:
        response = call(*arguments)
    except exception as error:
        problem = error.data
    else:
        raise Failure(f"expected {status}, got the response {response!r}")
    check(isinstance(problem, MvcProblemDetails), f"the exception contains {problem!r} instead of a problem")
    check(problem.status == status, f"the problem has the status {problem.status}, not {status}")
    check(problem.title, "the problem has no title")
    return problem


def unauthorized(call, *arguments):
    return rejected(UnauthorizedException, 401, call, *arguments)


with step("a login returns a key"):
    laptop = log_in(FIRST_PASSWORD, "laptop")
    check(laptop, "the key is empty")

with step("the key belongs to the user"):
    user = current_user(laptop)
    check(user.username == USER, f"the key belongs to {user.username!r}")

with step("a wrong password is a 401 problem"):
    unauthorized(log_in, "not the password", "laptop")

with step("a blank device is a 400 problem that names the member"):
    problem = rejected(BadRequestException, 400, log_in, FIRST_PASSWORD, " ")
    check("device" in (problem.errors or {}), f"errors is {problem.errors!r}")

with step("an unknown key is a 401 problem"):
    unauthorized(current_user, "11111111-2222-4333-8444-555555555555")

with step("a second login on the same device returns the same key"):
    again = log_in(FIRST_PASSWORD, "laptop")
    check(again == laptop, f"{again} is not {laptop}")

with step("a login on another device returns another key"):
    phone = log_in(FIRST_PASSWORD, "phone")
    check(phone != laptop, "it is the same key")
    current_user(phone)

with step("the password can be changed with a key"):
    change_password(laptop, SECOND_PASSWORD)

with step("the change revokes the key that requested it"):
    unauthorized(current_user, laptop)

with step("the change revokes the key of the other device"):
    unauthorized(current_user, phone)

with step("the old password is rejected"):
    unauthorized(log_in, FIRST_PASSWORD, "laptop")

with step("a login with the new password returns a new key"):
    fresh = log_in(SECOND_PASSWORD, "laptop")
    check(fresh not in (laptop, phone), "it is an old key")
    current_user(fresh)

with step("a key for another device can be issued, listed, and revoked by the name of the device"):
    script = AuthApi(client(fresh)).api_auth_apikey_post("my script")
    current_user(script)
    devices = [key.device for key in AuthApi(client(fresh)).api_auth_get()]
    check(sorted(devices) == ["laptop", "my script"], f"the devices are {devices}")
    AuthApi(client(fresh)).api_auth_delete(body="my script")
    unauthorized(current_user, script)

with step("an expiring key can be issued"):
    issued = AuthApi(client(fresh)).api_v3_auth_generate_token_post(GenerateTokenRequest(device="an hour", expires="1h"))
    check(issued.expires_at is not None, "the key does not expire")
    AuthApi(client(fresh)).api_v3_auth_invalidate_token_delete(token=str(issued.token))
    unauthorized(current_user, str(issued.token))

with step("a user can be created, listed, changed and deleted"):
    users = UserApi(client(fresh))
    bob = users.api_v3_user_post(UserBody(username="bob", password="bobs long password"))
    check("bob" in [user.username for user in users.api_v3_user_get()], "bob is not listed")
    patch = [{"op": "replace", "path": "/Username", "value": "rob"}]
    check(users.api_v3_user_by_user_id_patch(bob.id, patch).username == "rob", "the name has not changed")
    users.api_v3_user_by_user_id_delete(bob.id)
    rejected(NotFoundException, 404, users.api_v3_user_by_user_id_get, bob.id)

with step("the key can be revoked"):
    log_out(fresh)

with step("the revoked key is invalid"):
    unauthorized(current_user, fresh)

with step("revoking it again is not an error"):
    log_out(fresh)

print(f"{passed} passed, 0 failed")
