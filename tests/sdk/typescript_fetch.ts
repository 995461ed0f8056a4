// Uses a running server through the TypeScript SDK of openapi-generator's typescript-fetch.
//
// Called by scripts/test-sdk as `typescript_fetch.js URL PASSWORD EXPIRE`, which explains the arguments and the output.

import { check, expireKeys, password, step, url } from './steps';
import {
  AuthApi,
  Configuration,
  type MvcProblemDetails,
  MvcProblemDetailsFromJSON,
  ResponseError,
  UserApi,
} from './sdk';

const configuration = (key?: string) => new Configuration({ basePath: url, ...(key && { apiKey: key }) });
const auth = (key?: string) => new AuthApi(configuration(key));
const users = (key: string) => new UserApi(configuration(key));

async function logIn(pass: string, device: string): Promise<string> {
  return (await auth().apiAuthPost({ coreAuthUser: { user: 'Default', pass, device } })).apikey;
}

/** Returns the problem with which the server rejects the call. */
async function rejected(status: number, call: Promise<unknown>): Promise<MvcProblemDetails> {
  const error = await call.catch((error: unknown) => error);
  if (!(error instanceof ResponseError)) throw new Error(`expected ${status}, got ${error}`);
  const problem = MvcProblemDetailsFromJSON(await error.response.json());
  check(error.response.status === status && problem.status === status, `the problem is ${JSON.stringify(problem)}`);
  return problem;
}

async function main(): Promise<void> {
  const laptop = await step('log in', async () => {
    const key = await logIn(password, 'laptop');
    const user = await users(key).apiV3UserCurrentGet();
    check(user.username === 'Default' && user.isAdmin, `the key belongs to ${user.username}`);
    return key;
  });
  await step('wrong password', () => rejected(401, logIn('not the password', 'laptop')));
  await step('validation problem', async () => {
    const problem = await rejected(400, logIn(password, ' '));
    check('device' in (problem.errors ?? {}), `errors is ${JSON.stringify(problem.errors)}`);
  });
  await step('same device', async () => check((await logIn(password, 'laptop')) === laptop, 'it is another key'));
  const phone = await step('second device', async () => {
    const key = await logIn(password, 'phone');
    check(key !== laptop, 'it is the same key');
    return key;
  });
  await step('list', async () => {
    const devices = (await auth(laptop).apiAuthGet()).map((listed) => listed.device).sort();
    check(devices.join() === 'laptop,phone', `the devices are ${devices}`);
  });
  await step('revoke', async () => {
    await auth().apiAuthDelete({ apikey: phone });
    await rejected(401, users(phone).apiV3UserCurrentGet());
  });
  const key = await step('change password', async () => {
    await auth(laptop).apiAuthChangePasswordPost({ body: 'the second password' });
    await rejected(401, users(laptop).apiV3UserCurrentGet());
    await rejected(401, logIn(password, 'laptop'));
    return logIn('the second password', 'laptop');
  });
  await step('users', async () => {
    const bob = await users(key).apiV3UserPost({ createUserBody: { username: 'bob', password: 'bobs long password' } });
    check((await users(key).apiV3UserGet()).some((user) => user.username === 'bob'), 'bob is not listed');
    const patch = [{ op: 'replace' as const, path: '/Username', value: 'rob' }];
    const renamed = await users(key).apiV3UserByUserIDPatch({ userID: bob.iD, jsonPatchOperation: patch });
    check(renamed.username === 'rob', `the name is ${renamed.username}`);
    await users(key).apiV3UserByUserIDDelete({ userID: bob.iD });
    await rejected(404, users(key).apiV3UserByUserIDGet({ userID: bob.iD }));
  });
  await step('expiry', async () => {
    const request = { generateTokenRequest: { device: 'script', expires: '1m' } };
    const issued = await auth(key).apiV3AuthGenerateTokenPost(request);
    const left = (issued.expiresAt?.getTime() ?? 0) - Date.now();
    check(left > 0 && left <= 60_000, `the key expires in ${left} ms`);
    await users(issued.token).apiV3UserCurrentGet();
    await expireKeys();
    await rejected(401, users(issued.token).apiV3UserCurrentGet());
    await users(key).apiV3UserCurrentGet();
  });
}

void main();
