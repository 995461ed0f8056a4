// Uses a running server through openapi-fetch with the types of openapi-typescript.
//
// Called by scripts/test-sdk as `openapi_fetch.js URL PASSWORD EXPIRE`, which explains the arguments and the output.

import createClient from 'openapi-fetch';
import type { components, paths } from './schema';
import { check, expireKeys, password, step, url } from './steps';

type Problem = components['schemas']['MvcProblemDetails'];
type Result<T> = { data?: T; error?: Problem; response: Response };

const client = (key?: string) => createClient<paths>({ baseUrl: url, ...(key && { headers: { apikey: key } }) });
const currentUser = (key: string) => client(key).GET('/api/v3/User/Current');
const tryToLogIn = (pass: string, device: string) =>
  client().POST('/api/auth', { body: { user: 'Default', pass, device } });

/** Returns the body of a response, which must be a success. */
async function ok<T>(call: Promise<Result<T>>): Promise<T> {
  const { data, error, response } = await call;
  check(response.ok, `${response.status}: ${JSON.stringify(error)}`);
  return data as T;
}

/** Returns the problem with which the server rejects the call. */
async function rejected(status: number, call: Promise<Result<unknown>>): Promise<Problem> {
  const { error, response } = await call;
  if (response.status !== status || error?.status !== status) throw new Error(`${response.status}: ${error?.title}`);
  return error;
}

const logIn = async (pass: string, device: string) => (await ok(tryToLogIn(pass, device))).apikey;

async function main(): Promise<void> {
  const laptop = await step('log in', async () => {
    const key = await logIn(password, 'laptop');
    const user = await ok(currentUser(key));
    check(user.Username === 'Default' && user.IsAdmin, `the key belongs to ${user.Username}`);
    return key;
  });
  await step('wrong password', () => rejected(401, tryToLogIn('not the password', 'laptop')));
  await step('validation problem', async () => {
    const problem = await rejected(400, tryToLogIn(password, ' '));
    check('device' in (problem.errors ?? {}), `errors is ${JSON.stringify(problem.errors)}`);
  });
  await step('same device', async () => check((await logIn(password, 'laptop')) === laptop, 'it is another key'));
  const phone = await step('second device', async () => {
    const key = await logIn(password, 'phone');
    check(key !== laptop, 'it is the same key');
    return key;
  });
  await step('list', async () => {
    const devices = (await ok(client(laptop).GET('/api/auth'))).map((listed) => listed.Device).sort();
    check(devices.join() === 'laptop,phone', `the devices are ${devices}`);
  });
  await step('revoke', async () => {
    await ok(client().DELETE('/api/auth', { params: { query: { apikey: phone } } }));
    await rejected(401, currentUser(phone));
  });
  const key = await step('change password', async () => {
    await ok(client(laptop).POST('/api/auth/ChangePassword', { body: 'the second password' }));
    await rejected(401, currentUser(laptop));
    await rejected(401, tryToLogIn(password, 'laptop'));
    return logIn('the second password', 'laptop');
  });
  await step('users', async () => {
    const body = { Username: 'bob', Password: 'bobs long password' };
    const bob = { params: { path: { userID: (await ok(client(key).POST('/api/v3/User', { body }))).ID } } };
    check((await ok(client(key).GET('/api/v3/User'))).some((user) => user.Username === 'bob'), 'bob is not listed');
    const patch = [{ op: 'replace' as const, path: '/Username', value: 'rob' }];
    const renamed = await ok(client(key).PATCH('/api/v3/User/{userID}', { ...bob, body: patch }));
    check(renamed.Username === 'rob', `the name is ${renamed.Username}`);
    await ok(client(key).DELETE('/api/v3/User/{userID}', bob));
    await rejected(404, client(key).GET('/api/v3/User/{userID}', bob));
  });
  await step('expiry', async () => {
    const body = { Device: 'script', Expires: '1m' };
    const issued = await ok(client(key).POST('/api/v3/Auth/GenerateToken', { body }));
    const left = Date.parse(issued.ExpiresAt ?? '') - Date.now();
    check(left > 0 && left <= 60_000, `the key expires in ${left} ms`);
    await ok(currentUser(issued.Token));
    await expireKeys();
    await rejected(401, currentUser(issued.Token));
    await ok(currentUser(key));
  });
}

void main();
