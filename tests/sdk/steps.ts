// The arguments, the output of the steps and the expiry of keys, for both TypeScript drivers.

import { existsSync, writeFileSync } from 'node:fs';

export const [, , url, password, expire] = process.argv as [string, string, string, string, string];

export async function step<T>(name: string, run: () => T | Promise<T>): Promise<T> {
  try {
    const result = await run();
    console.log(`ok      ${name}`);
    return result;
  } catch (error) {
    console.error(`FAILED  ${name}: ${error}`);
    process.exit(1);
  }
}

export function check(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}

/** Lets all expiring keys of the server expire. */
export async function expireKeys(): Promise<void> {
  writeFileSync(expire, '');
  while (existsSync(expire)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
