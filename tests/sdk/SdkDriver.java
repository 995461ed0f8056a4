// Uses a running server through the Java SDK of openapi-generator (library "native").
//
// Called by scripts/test-sdk as `java SdkDriver.java URL PASSWORD EXPIRE`, which explains the arguments and the output.

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.AuthApi;
import org.openapitools.client.api.UserApi;
import org.openapitools.client.model.ChangePasswordRequest;
import org.openapitools.client.model.CoreAuthUser;
import org.openapitools.client.model.GenerateTokenRequest;
import org.openapitools.client.model.JsonPatchOperation;
import org.openapitools.client.model.MvcProblemDetails;
import org.openapitools.client.model.CreateUserBody;

class SdkDriver {
  static String url;

  interface Call<T> {
    T run() throws Exception;
  }

  public static void main(String[] arguments) {
    url = arguments[0];
    String password = arguments[1];
    Path expire = Path.of(arguments[2]);

    String laptop = step("log in", () -> {
      String key = logIn(password, "laptop");
      var user = users(key).apiV3UserCurrentGet();
      check(user.getUsername().equals("Default") && user.getIsAdmin(), "the key belongs to " + user);
      return key;
    });
    step("wrong password", () -> rejected(401, () -> logIn("not the password", "laptop")));
    step("validation problem", () -> {
      var errors = rejected(400, () -> logIn(password, " ")).getErrors();
      check(errors != null && errors.containsKey("device"), "errors is " + errors);
      return errors;
    });
    step("same device", () -> {
      check(logIn(password, "laptop").equals(laptop), "it is another key");
      return null;
    });
    String phone = step("second device", () -> {
      String key = logIn(password, "phone");
      check(!key.equals(laptop), "it is the same key");
      return key;
    });
    step("list", () -> {
      var devices = auth(laptop).apiAuthGet().stream().map(listed -> listed.getDevice()).sorted().toList();
      check(devices.equals(List.of("laptop", "phone")), "the devices are " + devices);
      return devices;
    });
    // Not `DELETE /api/auth`: this SDK cannot send it without a body.
    step("revoke", () -> {
      auth(null).apiV3AuthInvalidateTokenDelete(phone);
      return rejected(401, () -> users(phone).apiV3UserCurrentGet());
    });
    // Not `/api/auth/ChangePassword`: this SDK sends a JSON string without its quotes.
    String key = step("change password", () -> {
      users(laptop).apiV3UserCurrentChangePasswordPost(new ChangePasswordRequest().password("the second password"));
      rejected(401, () -> users(laptop).apiV3UserCurrentGet());
      rejected(401, () -> logIn(password, "laptop"));
      return logIn("the second password", "laptop");
    });
    step("users", () -> {
      UserApi users = users(key);
      int bob = users.apiV3UserPost(new CreateUserBody().username("bob").password("bobs long password")).getID();
      check(users.apiV3UserGet().stream().anyMatch(user -> user.getUsername().equals("bob")), "bob is not listed");
      var rename = new JsonPatchOperation().op(JsonPatchOperation.OpEnum.REPLACE).path("/Username").value("rob");
      var renamed = users.apiV3UserByUserIDPatch(bob, List.of(rename));
      check(renamed.getUsername().equals("rob"), "the name is " + renamed.getUsername());
      users.apiV3UserByUserIDDelete(bob);
      return rejected(404, () -> users.apiV3UserByUserIDGet(bob));
    });
    step("expiry", () -> {
      var issued = auth(key).apiV3AuthGenerateTokenPost(new GenerateTokenRequest().device("script").expires("1m"));
      String script = issued.getToken().toString();
      var left = Duration.between(OffsetDateTime.now(), issued.getExpiresAt());
      check(!left.isNegative() && left.toSeconds() < 60, "the key expires in " + left);
      users(script).apiV3UserCurrentGet();
      Files.createFile(expire);
      while (Files.exists(expire)) {
        Thread.sleep(50);
      }
      rejected(401, () -> users(script).apiV3UserCurrentGet());
      return users(key).apiV3UserCurrentGet();
    });
  }

  static ApiClient client(String key) {
    var client = new ApiClient();
    client.updateBaseUri(url);
    if (key != null) client.setRequestInterceptor(request -> request.header("apikey", key));
    return client;
  }

  static AuthApi auth(String key) {
    return new AuthApi(client(key));
  }

  static UserApi users(String key) {
    return new UserApi(client(key));
  }

  static String logIn(String password, String device) throws ApiException {
    var login = new CoreAuthUser().user("Default").pass(password).device(device);
    return auth(null).apiAuthPost(login).getApikey().toString();
  }

  /** Returns the problem with which the server rejects the call. */
  static MvcProblemDetails rejected(int status, Call<?> call) throws Exception {
    try {
      throw new IllegalStateException("expected %d, got %s".formatted(status, call.run()));
    } catch (ApiException error) {
      var problem = new ApiClient().getObjectMapper().readValue(error.getResponseBody(), MvcProblemDetails.class);
      check(error.getCode() == status && problem.getStatus() == status, "the problem is " + problem);
      return problem;
    }
  }

  static <T> T step(String name, Call<T> call) {
    try {
      T result = call.run();
      System.out.println("ok      " + name);
      return result;
    } catch (Exception error) {
      System.err.println("FAILED  %s: %s".formatted(name, error));
      System.exit(1);
      throw new IllegalStateException(error);
    }
  }

  static void check(boolean condition, String message) {
    if (!condition) throw new IllegalStateException(message);
  }
}
