/**
 * Flags, environment variables and a configuration file in one: flags stand above `ANOLE_*` variables,
 * these above the file, the file above presets and defaults.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { env } from 'node:process';
import { pathToFileURL } from 'node:url';
import { Command, type Option } from 'commander';
import { DataError, didYouMean, OptionError } from '../errors.ts';
import { type Config, defineConfig } from '../experiments/config.ts';
import { presets } from '../experiments/presets.ts';
import type { Rule } from '../experiments/settings.ts';
import { fileFault } from '../files.ts';
import { addTrainFlags, configurable, type MachineName } from './options.ts';

const fileNames = ['anole.config.ts', 'anole.config.js', 'anole.config.json'];

/** Variables with another meaning, which `src/data/folders.ts` and `main.ts` read. */
const otherVariables = ['ANOLE_DATA', 'ANOLE_CACHE', 'ANOLE_DEBUG'];

/** What is not given by flags, and where it comes from. */
export interface Configuration {
  readonly values: Config;
  /** By key: the file or the variable it stands in. */
  readonly sources: Readonly<Record<string, string>>;
  /** The file that was read, if any. */
  readonly file?: string;
}

/**
 * Reads the environment and the configuration file.
 * @param choice the file; false reads none. @default the `anole.config.*` in this folder
 * @throws {OptionError} for an unknown variable or a value that is not allowed
 * @throws {DataError} for a file that can not be read, or one with unknown keys or such values
 */
export async function readConfiguration(choice?: string | false): Promise<Configuration> {
  const variables = readVariables();
  const path = choice === false ? undefined : (choice ?? findFile());
  if (path === undefined) return variables;
  const values = await readFileOf(path);
  const sources = Object.fromEntries(Object.keys(values).map((key) => [key, path]));
  return {
    values: { ...values, ...variables.values },
    sources: { ...sources, ...variables.sources },
    file: path,
  };
}

/** Flags with what the configuration adds to how the machine is used. */
export function withMachine<F extends Partial<Record<MachineName, unknown>>>(
  flags: F,
  { values }: Configuration,
): F {
  const { workers, device, data, checkpointEvery, tensorboard } = values;
  const added = Object.entries({ workers, device, data, checkpointEvery, tensorboard });
  return { ...Object.fromEntries(added.filter(([, value]) => value !== undefined)), ...flags };
}

/** Runs `work`; where it complains of a key that no flag gave, the message says where that stands. */
export function explained<T>({ sources }: Configuration, flags: object, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const key = error instanceof OptionError ? /^(\w+):/.exec(error.message)?.[1] : undefined;
    if (key === undefined || Object.hasOwn(flags, key) || !Object.hasOwn(sources, key)) throw error;
    throw new OptionError(`${(error as Error).message} (it stands in ${sources[key]})`, { cause: error });
  }
}

/** `ANOLE_INNER_LR` for `--inner-lr`. */
function variableOf(option: Option): string {
  return `ANOLE_${option.long!.slice(2).replaceAll('-', '_').toUpperCase()}`;
}

function readVariables(): Configuration {
  const { options: all } = addTrainFlags(new Command());
  const options = all.filter((option) => Object.hasOwn(configurable, option.attributeName()));
  const known = options.map(variableOf).filter((name) => !otherVariables.includes(name));
  const values: Record<string, unknown> = {};
  const sources: Record<string, string> = {};
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('ANOLE_') || otherVariables.includes(name) || text === undefined) continue;
    const option = options.find((candidate) => variableOf(candidate) === name);
    if (option === undefined) {
      const hint = didYouMean(name, [...known, ...otherVariables]);
      throw new OptionError(`${name}: no flag has this environment variable${hint || ': take it away'}`);
    }
    const key = option.attributeName();
    values[key] = readVariable(name, text, option);
    sources[key] = name;
  }
  return { values: values as Config, sources };
}

function readVariable(name: string, text: string, option: Option): unknown {
  if (option.isBoolean()) {
    if (text === 'true' || text === 'false') return text === 'true';
    throw new OptionError(`${name}: expected true or false, got "${text}"`);
  }
  const rule = configurable[option.attributeName() as keyof typeof configurable];
  try {
    return option.parseArg === undefined ? checked(rule, text) : option.parseArg(text, undefined);
  } catch (cause) {
    throw new OptionError((cause as Error).message.replace(/^(--[\w-]+: )?/, `${name}: `), { cause });
  }
}

function findFile(): string | undefined {
  const [first, second] = fileNames.filter((name) => existsSync(name));
  if (second === undefined) return first;
  throw new DataError(`${first} and ${second}: expected one configuration file: choose with --config`);
}

async function readFileOf(path: string): Promise<Config> {
  const { data, ...others } = checkConfig(await load(path), path);
  return data === undefined ? others : { ...others, data: resolve(dirname(path), data) };
}

/**
 * What a configuration file holds, checked key by key.
 * @throws {DataError} naming the file and the key that is unknown or whose value is not allowed
 */
export function checkConfig(content: unknown, path: string): Config {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new DataError(`${path}: expected an object of settings as its default export, got ${content}`);
  }
  const keys = Object.keys(configurable);
  for (const [key, value] of Object.entries(content)) {
    if (!Object.hasOwn(configurable, key)) {
      throw new DataError(`${path}: "${key}" is no setting${didYouMean(key, keys) || ': take it out'}`);
    }
    try {
      checked(configurable[key as keyof typeof configurable], value);
    } catch (cause) {
      throw new DataError(`${path}: ${key}: ${(cause as Error).message}`, { cause });
    }
  }
  return content as Config;
}

function checked(rule: Rule, value: unknown): unknown {
  if (rule.holds(value)) return value;
  const found = typeof value === 'string' ? `"${value}"` : String(value);
  const hint = typeof value === 'string' && rule.choices ? didYouMean(value, rule.choices) : '';
  throw new OptionError(`expected ${rule.expected}, got ${found}${hint}`);
}

/** What the file holds: JSON, or the default export of a module. */
async function load(path: string): Promise<unknown> {
  if (!/\.([cm]?[jt]s|json)$/.test(path)) {
    throw new DataError(`${path}: expected a configuration file ending in .ts, .js or .json`);
  }
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new DataError(`could not read ${path} (${fileFault(cause)}): give another --config`, { cause });
  }
  try {
    return path.endsWith('.json') ? JSON.parse(text) : await loadModule(path);
  } catch (cause) {
    const reason = String((cause as Error).message).split('\n')[0];
    throw new DataError(`${path}: can not be loaded (${reason}): correct it`, { cause });
  }
}

/** Node 20 can not run TypeScript; and `anole/node` is this package, wherever it is installed. */
async function loadModule(path: string): Promise<unknown> {
  const { createJiti } = await import('jiti');
  const own = { defineConfig, presets };
  const jiti = createJiti(import.meta.url, {
    fsCache: false,
    virtualModules: { 'anole/node': own, anole: own },
  });
  return jiti.import(pathToFileURL(resolve(path)).href, { default: true });
}
