// Uses a running server through the Go SDK of oapi-codegen.
//
// Called by scripts/test-sdk as `drive URL PASSWORD EXPIRE`, which explains the arguments and the output.
package main

import (
	"context"
	"net/http"
	"os"
	"reflect"
	"sort"

	sdk "shoko-auth.invalid/sdk"
)

var ctx = context.Background()

// client returns a client that presents a key, or none if it is empty. The SDK decodes a problem only if its media type
// has no charset, and the server leaves out the charset only for clients that accept only plain JSON.
func client(key string) *sdk.ClientWithResponses {
	setHeaders := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Accept", "application/json")
		if key != "" {
			request.Header.Set("apikey", key)
		}
		return nil
	}
	result, err := sdk.NewClientWithResponses(os.Args[1], sdk.WithRequestEditorFn(setHeaders))
	must(err)
	return result
}

// response is implemented by all types of responses.
type response interface {
	StatusCode() int
	GetBody() []byte
}

func succeeded(r response) {
	check(r.StatusCode() == 200, "expected 200, got", r.StatusCode(), string(r.GetBody()))
}

// result returns the decoded body of a response, and fails unless the status is 200.
func result[T any](r response, body *T) T {
	succeeded(r)
	check(body != nil, "the SDK did not decode", string(r.GetBody()))
	return *body
}

// rejected returns the problem in a response, and fails unless the response has this status.
func rejected(status int, r response, problem *sdk.MvcProblemDetails) sdk.MvcProblemDetails {
	check(r.StatusCode() == status, "expected", status, "got", r.StatusCode(), string(r.GetBody()))
	check(problem != nil, "the SDK did not decode", string(r.GetBody()))
	check(problem.Status != nil && int(*problem.Status) == status, "the problem is", problem)
	return *problem
}

func currentUser(key string) *sdk.ApiV3UserCurrentGetResponse {
	r, err := client(key).ApiV3UserCurrentGetWithResponse(ctx)
	must(err)
	return r
}

func keyIsRejected(key string) {
	r := currentUser(key)
	rejected(401, r, r.JSON401)
}

func tryToLogIn(password, device string) *sdk.ApiAuthPostResponse {
	login := sdk.CoreAuthUser{User: "Default", Pass: password, Device: device}
	r, err := client("").ApiAuthPostWithResponse(ctx, login)
	must(err)
	return r
}

func logIn(password, device string) string {
	r := tryToLogIn(password, device)
	return result(r, r.JSON200).Apikey.String()
}

func main() {
	password := os.Args[2]
	var laptop, phone, key string
	step("log in", func() {
		laptop = logIn(password, "laptop")
		r := currentUser(laptop)
		user := result(r, r.JSON200)
		check(user.Username == "Default" && user.IsAdmin, "the key belongs to", user)
	})
	step("wrong password", func() {
		r := tryToLogIn("not the password", "laptop")
		rejected(401, r, r.JSON401)
	})
	step("validation problem", func() {
		r := tryToLogIn(password, " ")
		problem := rejected(400, r, r.JSON400)
		check(problem.Errors != nil && (*problem.Errors)["device"] != nil, "errors is", problem.Errors)
	})
	step("same device", func() {
		check(logIn(password, "laptop") == laptop, "it is another key")
	})
	step("second device", func() {
		phone = logIn(password, "phone")
		check(phone != laptop, "it is the same key")
	})
	step("list", func() {
		r, err := client(laptop).ApiAuthGetWithResponse(ctx)
		must(err)
		var devices []string
		for _, listed := range result(r, r.JSON200) {
			devices = append(devices, listed.Device)
		}
		sort.Strings(devices)
		check(reflect.DeepEqual(devices, []string{"laptop", "phone"}), "the devices are", devices)
	})
	step("revoke", func() {
		r, err := client("").ApiAuthDeleteWithResponse(ctx, nil, phone)
		must(err)
		succeeded(r)
		keyIsRejected(phone)
	})
	step("change password", func() { key = changePassword(laptop, password) })
	step("users", func() { changeUsers(key) })
	step("expiry", func() { letKeyExpire(key) })
}

// changePassword changes the password, which revokes all keys, and returns a new key.
func changePassword(key, old string) string {
	changed, err := client(key).ApiAuthChangePasswordPostWithResponse(ctx, nil, "the second password")
	must(err)
	succeeded(changed)
	keyIsRejected(key)
	r := tryToLogIn(old, "laptop")
	rejected(401, r, r.JSON401)
	return logIn("the second password", "laptop")
}

func changeUsers(key string) {
	users := client(key)
	request := sdk.CreateUserBody{Username: "bob", Password: "bobs long password"}
	created, err := users.ApiV3UserPostWithResponse(ctx, request)
	must(err)
	bob := result(created, created.JSON200).ID
	all, err := users.ApiV3UserGetWithResponse(ctx)
	must(err)
	listed := result(all, all.JSON200)
	check(len(listed) == 2 && listed[1].Username == "bob", "the users are", listed)
	rename := sdk.JsonPatchOperation{Op: sdk.Replace, Path: "/Username", Value: "rob"}
	renamed, err := users.ApiV3UserByUserIDPatchWithResponse(ctx, bob, []sdk.JsonPatchOperation{rename})
	must(err)
	name := result(renamed, renamed.JSON200).Username
	check(name == "rob", "the name is", name)
	deleted, err := users.ApiV3UserByUserIDDeleteWithResponse(ctx, bob)
	must(err)
	succeeded(deleted)
	missing, err := users.ApiV3UserByUserIDGetWithResponse(ctx, bob)
	must(err)
	rejected(404, missing, missing.JSON404)
}

func letKeyExpire(key string) {
	expires := "1m"
	request := sdk.GenerateTokenRequest{Device: "script", Expires: &expires}
	r, err := client(key).ApiV3AuthGenerateTokenPostWithResponse(ctx, request)
	must(err)
	issued := result(r, r.JSON200)
	expiring := issued.Token.String()
	succeeded(currentUser(expiring))
	expireKey(*issued.ExpiresAt)
	keyIsRejected(expiring)
	succeeded(currentUser(key))
}
