// What the TypeScript drivers share: their arguments, the output of their steps, and the clock of the server.

import { writeFileSync } from 'node:fs';

export const [, , url, password, clock] = process.argv as [string, string, string, string, string];

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

/** Moves the server's clock forward by two minutes. */
export function moveClock(): void {
  writeFileSync(clock, '+120\n');
}
