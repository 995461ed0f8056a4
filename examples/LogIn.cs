// Logs in, calls the server with the API key, and revokes the key.
// Usage: read -rs PASSWORD && export PASSWORD && dotnet run -- http://127.0.0.1:8111 Default
using System;
using System.Net.Http;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;

static class LogIn {
    static readonly HttpClient Client = new HttpClient { Timeout = TimeSpan.FromSeconds(30) };
    static int Main(string[] args) => Run(args[0].TrimEnd('/'), args[1]).GetAwaiter().GetResult();
    static async Task<int> Run(string url, string user) {
        var password = Environment.GetEnvironmentVariable("PASSWORD") ?? "";
        // A login on the same device returns the same key, so the name must be different on every machine.
        var login = new { user, pass = password, device = "LogIn.cs on " + Environment.MachineName };
        try {
            var key = (await Call(HttpMethod.Post, url + "/api/auth", login, "")).GetProperty("apikey").GetString();
            // A real program keeps the key and logs in again only after a 401.
            var me = await Call(HttpMethod.Get, url + "/api/v3/User/Current", null, key);
            Console.WriteLine("logged in as " + me.GetProperty("Username").GetString());
            await Call(HttpMethod.Delete, url + "/api/auth", key, key);
            return 0;
        } catch (HttpRequestException error) { Console.Error.WriteLine(error.Message); return 1; }
    }

    static async Task<JsonElement> Call(HttpMethod method, string url, object body, string key) {
        var request = new HttpRequestMessage(method, url) { Headers = { { "apikey", key } } };
        var json = JsonSerializer.Serialize(body);
        if (body != null) request.Content = new StringContent(json, Encoding.UTF8, "application/json");
        var response = await Client.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        var root = JsonDocument.Parse(text == "" ? "null" : text).RootElement;
        if (response.IsSuccessStatusCode) return root;
        // The body of an error is a problem (RFC 9457). Its `detail` says what is wrong, such as a wrong password.
        JsonElement detail;
        var reason = root.TryGetProperty("detail", out detail) ? detail : root.GetProperty("title");
        throw new HttpRequestException(reason.GetString());
    }
}
