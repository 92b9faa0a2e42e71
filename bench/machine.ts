/** What a measurement was made on. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { env, version as nodeVersion } from 'node:process';
import { fileURLToPath } from 'node:url';

/** The root of the project, from dist/bench. */
export const root = resolve(fileURLToPath(import.meta.url), '../../..');

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGB: number;
  readonly node: string;
  readonly onnxruntime: string;
  /** Of native programs: the first line that the C compiler says of its version, if there is one. */
  readonly compiler: string;
  /** Of the project; `…+` with changes that are not committed. */
  readonly commit: string;
}

export function machine(): Machine {
  const { dependencies } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  return {
    cpu: `${cpus()[0]?.model.trim() ?? 'unknown'}${cpuModel()}`,
    cores: availableParallelism(),
    memoryGB: Math.round(totalmem() / 2 ** 30),
    node: nodeVersion.slice(1),
    onnxruntime: dependencies['onnxruntime-node'] ?? 'unknown',
    compiler: compilerVersion(),
    commit: commit(),
  };
}

/** Family and model, since virtual machines hide the name. */
function cpuModel(): string {
  const info = cpuInfo();
  const field = (name: string) => info.match(new RegExp(`^${name}\\s*: (.*)$`, 'm'))?.[1];
  const [family, model] = [field('cpu family'), field('model')];
  return family === undefined ? '' : ` (family ${family}, model ${model})`;
}

export function cpuHas(flag: string): boolean {
  return new RegExp(`^flags\\s*:.*\\b${flag}\\b`, 'm').test(cpuInfo());
}

function cpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return ''; // not Linux
  }
}

function compilerVersion(): string {
  try {
    const text = execFileSync(env.CC || 'cc', ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text.split('\n')[0]!;
  } catch {
    return 'none';
  }
}

function commit(): string {
  const git = (...command: string[]) =>
    execFileSync('git', command, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+');
  } catch {
    return 'unknown';
  }
}
