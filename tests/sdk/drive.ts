// Drives a running server through the TypeScript SDK that was generated from openapi/openapi.json.
//
// Called by scripts/test-sdk as `drive.js URL PASSWORD`, PASSWORD being that of the administrator "Default".
// It says one line a step, stops at the first that fails, and leaves the server as it found it.

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

async function step<T>(name: string, deed: () => Promise<T>): Promise<T> {
  try {
    const result = await deed();
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
  const answer = await auth().apiAuthPost({ coreAuthUser: { user, pass, device } });
  return answer.apikey;
}

/** The problem with which the server refuses the call. */
async function refused(status: number, call: Promise<unknown>): Promise<MvcProblemDetails> {
  const answer = await call.catch((error: unknown) => error);
  if (!(answer instanceof ResponseError)) throw new Error(`expected ${status}, got ${answer}`);
  const problem = MvcProblemDetailsFromJSON(await answer.response.json());
  check(answer.response.status === status && problem.status === status, `the problem is ${JSON.stringify(problem)}`);
  check(!!problem.title && !!problem.traceId, 'the problem has no title or no trace id');
  return problem;
}

async function main(): Promise<void> {
  const key = await step('a login gives a key that tells whose it is', async () => {
    const key = await logIn(USER, password, 'browser');
    const user = await users(key).apiV3UserCurrentGet();
    check(user.username === USER && user.isAdmin, `the key is said to be ${user.username}'s`);
    return key;
  });

  await step('a wrong password is a 401 problem', () => refused(401, logIn(USER, 'not the password', 'browser')));

  await step('a blank device is a 400 problem that names the member', async () => {
    const problem = await refused(400, logIn(USER, password, ' '));
    check('device' in (problem.errors ?? {}), `errors is ${JSON.stringify(problem.errors)}`);
  });

  const devices = async () => (await auth(key).apiAuthGet()).map((listed) => listed.device);

  await step('a key for another device can be made, and is listed', async () => {
    const made = await auth(key).apiAuthApikeyPost({ body: 'my script' });
    await users(made).apiV3UserCurrentGet();
    check((await devices()).includes('my script'), 'it is not listed');
    await auth(key).apiAuthDelete({ body: 'my script' });
    await refused(401, users(made).apiV3UserCurrentGet());
    check(!(await devices()).includes('my script'), 'it is still listed');
  });

  await step('a key can be made that expires', async () => {
    const request = { device: 'for an hour', expires: '1h' };
    const made = await auth(key).apiV3AuthGenerateTokenPost({ generateTokenRequest: request });
    const left = (made.expiresAt?.getTime() ?? 0) - Date.now();
    check(Math.abs(left - 3_600_000) < 60_000, `it ends in ${left} ms`);
    await auth().apiV3AuthInvalidateTokenDelete({ token: made.token });
    await refused(401, users(made.token).apiV3UserCurrentGet());
  });

  const bob = await step('a user can be made, and is listed', async () => {
    const made = await users(key).apiV3UserPost({ userBody: { username: 'bob', password: 'bobs long password' } });
    const listed = await users(key).apiV3UserGet();
    check(listed.some((user) => user.iD === made.iD && user.username === 'bob'), 'bob is not listed');
    return made.iD;
  });

  await step('a user can be changed by a JSON Patch', async () => {
    const patch = [{ op: 'replace', path: '/Username', value: 'rob' }];
    const changed = await users(key).apiV3UserByUserIDPatch({ userID: bob, requestBody: patch });
    check(changed.username === 'rob', `the name is ${changed.username}`);
  });

  await step('a user who is no administrator may not list users', async () => {
    await refused(403, users(await logIn('rob', 'bobs long password', 'phone')).apiV3UserGet());
  });

  await step('a new password ends the keys of the user', async () => {
    const before = await logIn('rob', 'bobs long password', 'phone');
    await auth(before).apiAuthChangePasswordPost({ body: 'bobs new password' });
    await refused(401, users(before).apiV3UserCurrentGet());
    await logIn('rob', 'bobs new password', 'phone');
  });

  await step('a user can be deleted, and is gone', async () => {
    await users(key).apiV3UserByUserIDDelete({ userID: bob });
    await refused(404, users(key).apiV3UserByUserIDGet({ userID: bob }));
    await refused(401, logIn('rob', 'bobs new password', 'phone'));
  });

  await step('the key can be ended, and is dead', async () => {
    await auth().apiAuthDelete({ apikey: key });
    await refused(401, users(key).apiV3UserCurrentGet());
  });

  console.log(`${passed} passed, 0 failed`);
}

void main();
