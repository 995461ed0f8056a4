// Uses a running server through the C# SDK of NSwag.
//
// Called by scripts/test-sdk as `mono Drive.exe URL PASSWORD EXPIRE`, which explains the arguments and the output.

using System;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Threading.Tasks;
using ShokoAuth;

static class Drive
{
    static string url;

    static ShokoAuthClient Client(string key = null)
    {
        var http = new HttpClient();
        if (key != null) http.DefaultRequestHeaders.Add("apikey", key);
        return new ShokoAuthClient(http) { BaseUrl = url };
    }

    static Task<User> CurrentUser(string key) => Client(key).ApiV3UserCurrentGetAsync();

    static async Task<string> LogIn(string password, string device)
    {
        var login = new CoreAuthUser { User = "Default", Pass = password, Device = device };
        return (await Client().ApiAuthPostAsync(login)).Apikey.ToString();
    }

    /// <summary>Returns the problem with which the server rejects the call.</summary>
    static async Task<MvcProblemDetails> Rejected(int status, Task call)
    {
        try
        {
            await call;
        }
        catch (ApiException<MvcProblemDetails> error)
        {
            Check(error.StatusCode == status && error.Result.Status == status, error);
            return error.Result;
        }
        throw new Exception("expected " + status + ", got a success");
    }

    static void Check(bool condition, object message)
    {
        if (!condition) throw new Exception(message.ToString());
    }

    static async Task Step(string name, Func<Task> run)
    {
        try
        {
            await run();
            Console.WriteLine("ok      " + name);
        }
        catch (Exception error)
        {
            Console.Error.WriteLine("FAILED  " + name + ": " + error);
            Environment.Exit(1);
        }
    }

    static void Main(string[] arguments)
    {
        url = arguments[0];
        Run(arguments[1], arguments[2]).GetAwaiter().GetResult();
    }

    static async Task Run(string password, string expire)
    {
        string laptop = null, phone = null, key = null;
        await Step("log in", async () =>
        {
            laptop = await LogIn(password, "laptop");
            var user = await CurrentUser(laptop);
            Check(user.Username == "Default" && user.IsAdmin, "the key belongs to " + user.Username);
        });
        await Step("wrong password", () => Rejected(401, LogIn("not the password", "laptop")));
        await Step("validation problem", async () =>
        {
            var problem = await Rejected(400, LogIn(password, " "));
            Check(problem.Errors.ContainsKey("device"), "errors has no device");
        });
        await Step("same device", async () =>
            Check(await LogIn(password, "laptop") == laptop, "it is another key"));
        await Step("second device", async () =>
        {
            phone = await LogIn(password, "phone");
            Check(phone != laptop, "it is the same key");
        });
        await Step("list", async () =>
        {
            var keys = await Client(laptop).ApiAuthGetAsync();
            var devices = string.Join(" ", keys.Select(listed => listed.Device).OrderBy(name => name));
            Check(devices == "laptop phone", "the devices are " + devices);
        });
        await Step("revoke", async () =>
        {
            await Client().ApiAuthDeleteAsync(phone, null);
            await Rejected(401, CurrentUser(phone));
        });
        await Step("change password", async () =>
        {
            await Client(laptop).ApiAuthChangePasswordPostAsync(null, "the second password");
            await Rejected(401, CurrentUser(laptop));
            await Rejected(401, LogIn(password, "laptop"));
            key = await LogIn("the second password", "laptop");
        });
        await Step("users", async () =>
        {
            var client = Client(key);
            var user = new CreateUserBody { Username = "bob", Password = "bobs long password" };
            var bob = await client.ApiV3UserPostAsync(user);
            Check((await client.ApiV3UserGetAsync()).Any(listed => listed.Username == "bob"), "bob is not listed");
            var replace = JsonPatchOperationOp.Replace;
            var rename = new JsonPatchOperation { Op = replace, Path = "/Username", Value = "rob" };
            var renamed = await client.ApiV3UserByUserIDPatchAsync(bob.ID, new[] { rename });
            Check(renamed.Username == "rob", "the name is " + renamed.Username);
            await client.ApiV3UserByUserIDDeleteAsync(bob.ID);
            await Rejected(404, client.ApiV3UserByUserIDGetAsync(bob.ID));
        });
        await Step("expiry", async () =>
        {
            var request = new GenerateTokenRequest { Device = "script", Expires = "1m" };
            var issued = await Client(key).ApiV3AuthGenerateTokenPostAsync(request);
            var left = issued.ExpiresAt.Value - DateTimeOffset.Now;
            Check(left > TimeSpan.Zero && left <= TimeSpan.FromMinutes(1), "the key expires in " + left);
            await CurrentUser(issued.Token.ToString());
            File.WriteAllText(expire, "");
            while (File.Exists(expire))
            {
                await Task.Delay(50);
            }
            await Rejected(401, CurrentUser(issued.Token.ToString()));
            await CurrentUser(key);
        });
    }
}
