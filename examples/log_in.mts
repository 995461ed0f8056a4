// Logs in, calls the server with the API key, and revokes the key. Needs Node.js 22.18 or newer.
//
//     read -rs PASSWORD && export PASSWORD
//     node examples/log_in.mts http://127.0.0.1:8111 Default

import { hostname } from "node:os";

const [url, user] = process.argv.slice(2);
if (!url || !user) throw new Error("usage: log_in.mts URL USER, with the password in PASSWORD");

/** Returns the body of the response. Throws the reason if the response is an error. */
async function call(method: string, path: string, body?: unknown, key = ""): Promise<any> {
  const response = await fetch(url.replace(/\/$/, "") + path, {
    method,
    headers: { "Content-Type": "application/json", apikey: key },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  });
  const text = await response.text();
  const json = text === "" ? null : JSON.parse(text);
  // The body of an error is a problem (RFC 9457). Its `detail` says what is wrong, such as a wrong password.
  if (!response.ok) throw new Error(json?.detail ?? json?.title ?? response.statusText);
  return json;
}

try {
  // A login on the same device returns the same key, so the name must be different on every machine.
  const login = { user, pass: process.env.PASSWORD ?? "", device: `log_in.mts on ${hostname()}` };
  const key: string = (await call("POST", "/api/auth", login)).apikey;
  // A real program keeps the key and logs in again only after a 401.
  console.log("logged in as", (await call("GET", "/api/v3/User/Current", undefined, key)).Username);
  await call("DELETE", "/api/auth", key);
} catch (error) {
  const { message, cause = "" } = error as Error;
  console.error(message, cause);
  process.exitCode = 1;
}
