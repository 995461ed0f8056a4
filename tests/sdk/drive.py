"""Drives a running server through the Python SDK that was generated from openapi/openapi.json.

Called by scripts/test-sdk as `drive.py URL PASSWORD`, PASSWORD being that of the administrator "Default".
It says one line a step and stops at the first that fails.
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
    """What a step saw instead of what it should see."""


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
    """An SDK client that sends `key` in the header `apikey`."""
    return ApiClient(Configuration(host=URL, api_key={"ApiKey": key} if key else None))


def log_in(password, device):
    # `pass` is a word of Python's own, so the generator calls it `var_pass`.
    answer = AuthApi(client()).api_auth_post(CoreAuthUser(user=USER, var_pass=password, device=device))
    return str(answer.apikey)


def change_password(key, password):
    AuthApi(client(key)).api_auth_change_password_post(password)


def log_out(key):
    AuthApi(client()).api_auth_delete(apikey=key)


def current_user(key):
    return UserApi(client(key)).api_v3_user_current_get()


def refused(exception, status, call, *arguments):
    """The problem details with which the server refuses the call."""
    try:
        answer = call(*arguments)
    except exception as error:
        problem = error.data
    else:
        raise Failure(f"expected {status}, got the answer {answer!r}")
    check(isinstance(problem, MvcProblemDetails), f"the exception holds {problem!r}, no problem details")
    check(problem.status == status, f"the problem says status {problem.status}, not {status}")
    check(problem.title, "the problem has no title")
    return problem


def unauthorized(call, *arguments):
    return refused(UnauthorizedException, 401, call, *arguments)


with step("a login gives a key"):
    laptop = log_in(FIRST_PASSWORD, "laptop")
    check(laptop, "the key is empty")

with step("the key tells whose it is"):
    user = current_user(laptop)
    check(user.username == USER, f"the key is said to be {user.username!r}'s")

with step("a wrong password is a 401 problem"):
    unauthorized(log_in, "not the password", "laptop")

with step("a blank device is a 400 problem that names the member"):
    problem = refused(BadRequestException, 400, log_in, FIRST_PASSWORD, " ")
    check("device" in (problem.errors or {}), f"errors is {problem.errors!r}")

with step("an invented key is a 401 problem"):
    unauthorized(current_user, "11111111-2222-4333-8444-555555555555")

with step("a second login from the same device gives the same key"):
    again = log_in(FIRST_PASSWORD, "laptop")
    check(again == laptop, f"{again} is not {laptop}")

with step("a login from another device gives another key"):
    phone = log_in(FIRST_PASSWORD, "phone")
    check(phone != laptop, "it is the same key")
    current_user(phone)

with step("the password can be changed with a key"):
    change_password(laptop, SECOND_PASSWORD)

with step("the change ended the key that made it"):
    unauthorized(current_user, laptop)

with step("the change ended the other device's key"):
    unauthorized(current_user, phone)

with step("the old password is refused"):
    unauthorized(log_in, FIRST_PASSWORD, "laptop")

with step("a login with the new password gives a new key"):
    fresh = log_in(SECOND_PASSWORD, "laptop")
    check(fresh not in (laptop, phone), "it is an old key")
    current_user(fresh)

with step("a key for another device can be made, is listed, and ends by the device's name"):
    script = AuthApi(client(fresh)).api_auth_apikey_post("my script")
    current_user(script)
    devices = [key.device for key in AuthApi(client(fresh)).api_auth_get()]
    check(sorted(devices) == ["laptop", "my script"], f"the devices are {devices}")
    AuthApi(client(fresh)).api_auth_delete(body="my script")
    unauthorized(current_user, script)

with step("a key can be made that expires"):
    made = AuthApi(client(fresh)).api_v3_auth_generate_token_post(GenerateTokenRequest(device="an hour", expires="1h"))
    check(made.expires_at is not None, "it does not")
    AuthApi(client(fresh)).api_v3_auth_invalidate_token_delete(token=str(made.token))
    unauthorized(current_user, str(made.token))

with step("a user can be made, is listed, changed and deleted"):
    users = UserApi(client(fresh))
    bob = users.api_v3_user_post(UserBody(username="bob", password="bobs long password"))
    check("bob" in [user.username for user in users.api_v3_user_get()], "bob is not listed")
    patch = [{"op": "replace", "path": "/Username", "value": "rob"}]
    check(users.api_v3_user_by_user_id_patch(bob.id, patch).username == "rob", "the name is the old one")
    users.api_v3_user_by_user_id_delete(bob.id)
    refused(NotFoundException, 404, users.api_v3_user_by_user_id_get, bob.id)

with step("the key can be deleted"):
    log_out(fresh)

with step("the deleted key is dead"):
    unauthorized(current_user, fresh)

with step("deleting it again is no error"):
    log_out(fresh)

print(f"{passed} passed, 0 failed")
