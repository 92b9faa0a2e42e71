/** Whether Omniglot is there. */
import type { Context } from '../harness.ts';

/** Why Omniglot can't be read, or undefined. */
export async function omniglotMissing(context: Context): Promise<string | undefined> {
  try {
    await context.omniglot();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
