// Uses a running server through the Go SDK of openapi-generator, which needs only the standard library.
//
// Called by scripts/test-sdk as `drive URL PASSWORD EXPIRE`, which explains the arguments and the output.
package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"reflect"
	"sort"

	sdk "shoko-auth.invalid/sdk"
)

var ctx = context.Background()

func client(key string) *sdk.APIClient {
	configuration := sdk.NewConfiguration()
	configuration.Servers = sdk.ServerConfigurations{{URL: os.Args[1]}}
	if key != "" {
		configuration.AddDefaultHeader("apikey", key)
	}
	return sdk.NewAPIClient(configuration)
}

func currentUser(key string) (*sdk.User, *http.Response, error) {
	return client(key).UserAPI.ApiV3UserCurrentGet(ctx).Execute()
}

func tryToLogIn(password, device string) (*sdk.ApikeyResult, *http.Response, error) {
	login := sdk.NewCoreAuthUser(device, password, "Default")
	return client("").AuthAPI.ApiAuthPost(ctx).CoreAuthUser(*login).Execute()
}

func logIn(password, device string) string {
	result, _, err := tryToLogIn(password, device)
	must(err)
	return result.Apikey
}

// rejected returns the problem with which the server rejected a call.
func rejected(status int32, err error) sdk.MvcProblemDetails {
	var failure *sdk.GenericOpenAPIError
	check(errors.As(err, &failure), "expected", status, "got", err)
	problem, ok := failure.Model().(sdk.MvcProblemDetails)
	check(ok && problem.GetStatus() == status, "expected", status, "got", failure.Model())
	return problem
}

func main() {
	password := os.Args[2]
	var laptop, phone, key string
	step("log in", func() {
		laptop = logIn(password, "laptop")
		user, _, err := currentUser(laptop)
		must(err)
		check(user.Username == "Default" && user.IsAdmin, "the key belongs to", user)
	})
	step("wrong password", func() {
		_, _, err := tryToLogIn("not the password", "laptop")
		rejected(401, err)
	})
	step("validation problem", func() {
		_, _, err := tryToLogIn(password, " ")
		problem := rejected(400, err)
		_, found := problem.GetErrors()["device"]
		check(found, "errors is", problem.GetErrors())
	})
	step("same device", func() {
		check(logIn(password, "laptop") == laptop, "it is another key")
	})
	step("second device", func() {
		phone = logIn(password, "phone")
		check(phone != laptop, "it is the same key")
	})
	step("list", func() {
		keys, _, err := client(laptop).AuthAPI.ApiAuthGet(ctx).Execute()
		must(err)
		var devices []string
		for _, listed := range keys {
			devices = append(devices, listed.Device)
		}
		sort.Strings(devices)
		check(reflect.DeepEqual(devices, []string{"laptop", "phone"}), "the devices are", devices)
	})
	// Not `DELETE /api/auth`: this SDK panics when it sends it without a body.
	step("revoke", func() {
		_, err := client("").AuthAPI.ApiV3AuthInvalidateTokenDelete(ctx).Token(phone).Execute()
		must(err)
		_, _, err = currentUser(phone)
		rejected(401, err)
	})
	// Not `/api/auth/ChangePassword`: this SDK sends a JSON string without its quotes.
	step("change password", func() {
		request := sdk.NewChangePasswordRequest("the second password")
		change := client(laptop).UserAPI.ApiV3UserCurrentChangePasswordPost(ctx)
		_, err := change.ChangePasswordRequest(*request).Execute()
		must(err)
		_, _, err = currentUser(laptop)
		rejected(401, err)
		_, _, err = tryToLogIn(password, "laptop")
		rejected(401, err)
		key = logIn("the second password", "laptop")
	})
	step("users", func() {
		users := client(key).UserAPI
		bob, _, err := users.ApiV3UserPost(ctx).CreateUserBody(*sdk.NewCreateUserBody("bobs long password", "bob")).Execute()
		must(err)
		listed, _, err := users.ApiV3UserGet(ctx).Execute()
		must(err)
		check(len(listed) == 2 && listed[1].Username == "bob", "the users are", listed)
		rename := sdk.NewJsonPatchOperation("replace", "/Username")
		rename.Value = "rob"
		patch := users.ApiV3UserByUserIDPatch(ctx, bob.ID).JsonPatchOperation([]sdk.JsonPatchOperation{*rename})
		renamed, _, err := patch.Execute()
		must(err)
		check(renamed.Username == "rob", "the name is", renamed.Username)
		_, err = users.ApiV3UserByUserIDDelete(ctx, bob.ID).Execute()
		must(err)
		_, _, err = users.ApiV3UserByUserIDGet(ctx, bob.ID).Execute()
		rejected(404, err)
	})
	step("expiry", func() {
		request := sdk.NewGenerateTokenRequest("script")
		request.SetExpires("1m")
		issued, _, err := client(key).AuthAPI.ApiV3AuthGenerateTokenPost(ctx).GenerateTokenRequest(*request).Execute()
		must(err)
		_, _, err = currentUser(issued.Token)
		must(err)
		expireKey(issued.GetExpiresAt())
		_, _, err = currentUser(issued.Token)
		rejected(401, err)
		_, _, err = currentUser(key)
		must(err)
	})
}
