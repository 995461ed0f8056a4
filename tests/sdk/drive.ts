// Uses a running server through the TypeScript SDK generated from openapi/openapi.json.
//
// Called by scripts/test-sdk as `drive.js URL PASSWORD` with the password of the administrator "Default". Prints one line
// for each step, stops at the first that fails, and leaves the users and their passwords as they were.

import {
  AuthApi,
  Configuration,
  type MvcProblemDetails,
  MvcProblemDetailsFromJSON,
  ResponseError,
  UserApi,
} from './sdk';

// Instead of @types/node.
declare const process: { argv: string[]; exit(code: number): never };

const USER = 'Default';
const [, , url, password] = process.argv as [string, string, string, string];

let passed = 0;

async function step<T>(name: string, run: () => Promise<T>): Promise<T> {
  try {
    const result = await run();
    console.log(`ok      ${name}`);
    passed += 1;
    return result;
  } catch (error) {
    console.log(`FAILED  ${name}: ${error}`);
    console.log(`${passed} passed, 1 failed`);
    process.exit(1);
  }
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}

const configuration = (key?: string) => new Configuration({ basePath: url, ...(key && { apiKey: key }) });
const auth = (key?: string) => new AuthApi(configuration(key));
const users = (key: string) => new UserApi(configuration(key));

async function logIn(user: string, pass: string, device: string): Promise<string> {
  const response = await auth().apiAuthPost({ coreAuthUser: { user, pass, device } });
  return response.apikey;
}

/** Asserts that the server rejects the call, and returns the problem. */
async function rejected(status: number, call: Promise<unknown>): Promise<MvcProblemDetails> {
  const error = await call.catch((error: unknown) => error);
  if (!(error instanceof ResponseError)) throw new Error(`expected ${status}, got ${error}`);
  const problem = MvcProblemDetailsFromJSON(await error.response.json());
  check(error.response.status === status && problem.status === status, `the problem is ${JSON.stringify(problem)}`);
  check(!!problem.title && !!problem.traceId, 'the problem has no title or no trace id');
  return problem;
}

async function main(): Promise<void> {
  const key = await step('a login returns a key of the user', async () => {
    const key = await logIn(USER, password, 'browser');
    const user = await users(key).apiV3UserCurrentGet();
    check(user.username === USER && user.isAdmin, `the key belongs to ${user.username}`);
    return key;
  });

  await step('a wrong password is a 401 problem', () => rejected(401, logIn(USER, 'not the password', 'browser')));

  await step('a blank device is a 400 problem that names the member', async () => {
    const problem = await rejected(400, logIn(USER, password, ' '));
    check('device' in (problem.errors ?? {}), `errors is ${JSON.stringify(problem.errors)}`);
  });

  const devices = async () => (await auth(key).apiAuthGet()).map((listed) => listed.device);

  await step('a key for another device can be issued, listed and revoked', async () => {
    const issued = await auth(key).apiAuthApikeyPost({ body: 'my script' });
    await users(issued).apiV3UserCurrentGet();
    check((await devices()).includes('my script'), 'the key is not listed');
    await auth(key).apiAuthDelete({ body: 'my script' });
    await rejected(401, users(issued).apiV3UserCurrentGet());
    check(!(await devices()).includes('my script'), 'the key is still listed');
  });

  await step('an expiring key can be issued', async () => {
    const request = { device: 'for an hour', expires: '1h' };
    const issued = await auth(key).apiV3AuthGenerateTokenPost({ generateTokenRequest: request });
    const left = (issued.expiresAt?.getTime() ?? 0) - Date.now();
    check(Math.abs(left - 3_600_000) < 60_000, `the key expires in ${left} ms`);
    await auth().apiV3AuthInvalidateTokenDelete({ token: issued.token });
    await rejected(401, users(issued.token).apiV3UserCurrentGet());
  });

  const bob = await step('a user can be created and is listed', async () => {
    const created = await users(key).apiV3UserPost({ userBody: { username: 'bob', password: 'bobs long password' } });
    const listed = await users(key).apiV3UserGet();
    check(listed.some((user) => user.iD === created.iD && user.username === 'bob'), 'bob is not listed');
    return created.iD;
  });

  await step('a user can be changed by a JSON Patch', async () => {
    const patch = [{ op: 'replace', path: '/Username', value: 'rob' }];
    const changed = await users(key).apiV3UserByUserIDPatch({ userID: bob, requestBody: patch });
    check(changed.username === 'rob', `the name is ${changed.username}`);
  });

  await step('a user without administrator rights cannot list users', async () => {
    await rejected(403, users(await logIn('rob', 'bobs long password', 'phone')).apiV3UserGet());
  });

  await step('a new password revokes the keys of the user', async () => {
    const before = await logIn('rob', 'bobs long password', 'phone');
    await auth(before).apiAuthChangePasswordPost({ body: 'bobs new password' });
    await rejected(401, users(before).apiV3UserCurrentGet());
    await logIn('rob', 'bobs new password', 'phone');
  });

  await step('a user can be deleted', async () => {
    await users(key).apiV3UserByUserIDDelete({ userID: bob });
    await rejected(404, users(key).apiV3UserByUserIDGet({ userID: bob }));
    await rejected(401, logIn('rob', 'bobs new password', 'phone'));
  });

  await step('the key can be revoked', async () => {
    await auth().apiAuthDelete({ apikey: key });
    await rejected(401, users(key).apiV3UserCurrentGet());
  });

  console.log(`${passed} passed, 0 failed`);
}

void main();
