/** The package as users get it: packed, and installed from the tarball into an empty folder. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Of the repository; compiled tests are in dist/test. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));

export interface Installed {
  /** A temporary folder, of which the rest are parts. */
  readonly folder: string;
  readonly tarball: string;
  /** Paths in the tarball. */
  readonly files: readonly string[];
  /** The project it is installed in. */
  readonly project: string;
}

/** Needs the build in dist/, and npm's registry or its cache for the dependencies. */
export async function install(): Promise<Installed> {
  const folder = await mkdtemp(join(tmpdir(), 'anole-package-'));
  const packing = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const [packed] = JSON.parse(await run('npm', packing, root)) as [
    { filename: string; files: { path: string }[] },
  ];
  const project = join(folder, 'project');
  await mkdir(project);
  await writeFile(join(project, 'package.json'), '{ "name": "project", "private": true, "type": "module" }');
  const tarball = join(folder, packed.filename);
  // Without install scripts: onnxruntime-node's would fetch libraries for GPUs.
  await run('npm', ['install', tarball, '--ignore-scripts', '--prefer-offline', '--no-audit'], project);
  return { folder, tarball, files: packed.files.map(({ path }) => path), project };
}

export async function remove({ folder }: Installed): Promise<void> {
  await rm(folder, { recursive: true });
}

/** The program of a development dependency. */
export function tool(name: string): string {
  return join(root, 'node_modules', '.bin', name);
}

/** Runs a program and returns what it prints; its error shows both outputs. */
export async function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    return (await execute(program, args, { cwd, maxBuffer: 2 ** 26 })).stdout;
  } catch (cause) {
    const { stdout, stderr } = cause as { stdout?: string; stderr?: string };
    throw new Error(`${program} ${args.join(' ')}\n${stdout}\n${stderr}`, { cause });
  }
}

/** All files below a folder, as paths. */
export async function filesBelow(folder: string): Promise<string[]> {
  const items = await readdir(folder, { recursive: true, withFileTypes: true });
  return items.filter((item) => item.isFile()).map((item) => join(item.parentPath, item.name));
}
