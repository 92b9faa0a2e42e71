/** `anole data`: where data sets are, decoding them ahead of time, and fetching them on request. */
import { Command } from 'commander';
import { splitNames } from '../data/class-folders.ts';
import { loadMiniImagenet, miniImagenetInfo } from '../data/mini-imagenet.ts';
import { fetchOmniglot, omniglotInfo } from '../data/omniglot.ts';
import { didYouMean, OptionError } from '../errors.ts';
import { aligned, count } from './format.ts';
import { decoding } from './images.ts';
import { untilInterrupted } from './interrupt.ts';
import { terminalProgress } from './progress.ts';

export function dataCommand(): Command {
  const command = new Command('data')
    .summary('show where Omniglot and Mini-ImageNet are, prepare or fetch them')
    .description(
      'Omniglot is read from two zips (or the folders they unpack to), Mini-ImageNet from a zip or\n' +
        'folder of yours; both are kept decoded in cache files. Only Omniglot can be downloaded, and only\n' +
        'by `fetch`. Sine waves and glyphs need no data. The environment variables ANOLE_DATA and\n' +
        'ANOLE_CACHE name the folders of downloads and of caches (default: those of the system).',
    );
  command
    .command('info')
    .description('Says where a data set is read from and cached; without a name, of all.')
    .argument('[name]', 'omniglot or mini-imagenet')
    .option('--data <folder>', 'where the data is (default: what `anole data fetch` got)')
    .option('--json', 'print one JSON object a line in place of text')
    .action(info);
  command
    .command('prepare')
    .description('Decodes Mini-ImageNet into its cache files (1.3 GB), so that no run has to wait for it.')
    .argument('<name>', 'mini-imagenet')
    .option('--data <folder>', 'where the zip or folder is')
    .option('--quiet', 'no progress on stderr')
    .action(prepare);
  command
    .command('fetch')
    .description('Downloads a data set (16 MB) from its official address and checks it.')
    .argument('<name>', 'omniglot')
    .option('--quiet', 'no progress on stderr')
    .action(fetchData);
  return command;
}

const known = ['omniglot', 'mini-imagenet'] as const;

function info(name: string | undefined, flags: InfoFlags): void {
  if (name !== undefined) checkName(name, known, 'to show');
  const shown = known.filter((one) => name === undefined || name === one);
  const texts = shown.map((one) => (one === 'omniglot' ? omniglotText(flags) : miniImagenetText(flags)));
  console.log(texts.join(flags.json ? '\n' : '\n\n'));
}

interface InfoFlags {
  readonly data?: string;
  readonly json?: boolean;
}

function omniglotText({ data, json }: InfoFlags): string {
  const found = omniglotInfo({ data });
  if (json) return JSON.stringify({ name: 'omniglot', ...found });
  const [first, ...others] = found.sources;
  return [
    `omniglot: ${count(found.classes)} characters, ${count(found.images)} drawings (MIT licence)`,
    '',
    aligned([
      first === undefined
        ? ['source', ...(found.problem ?? 'none').split('; ')]
        : ['source', first, ...others],
      ['cache', cacheLine(found)],
    ]),
  ].join('\n');
}

function miniImagenetText({ data, json }: InfoFlags): string {
  const found = miniImagenetInfo({ data });
  if (json) return JSON.stringify({ name: 'mini-imagenet', ...found });
  const images = found.splits.reduce((sum, split) => sum + split.images, 0);
  const caches = found.splits.map(
    (one) => [`cache ${one.split}`, `${count(one.classes)} classes: ${cacheLine(one)}`] as const,
  );
  return [
    `mini-imagenet: 100 classes, ${count(images)} images (ImageNet's terms: research, not commercial)`,
    '',
    aligned([['source', ...(found.source ?? found.problem ?? 'none').split('; ')], ...caches]),
  ].join('\n');
}

function cacheLine({ cacheFile, cached }: { readonly cacheFile?: string; readonly cached: boolean }): string {
  if (cacheFile === undefined) return 'none';
  return cached ? cacheFile : `${cacheFile} (made on first use)`;
}

async function prepare(
  name: string,
  flags: { readonly data?: string; readonly quiet?: boolean },
): Promise<void> {
  checkName(name, ['mini-imagenet'], 'to prepare');
  const progress = terminalProgress({ quiet: flags.quiet === true });
  try {
    for (const split of splitNames) {
      const onProgress = decoding(progress, `Mini-ImageNet ${split}`);
      await loadMiniImagenet(split, { data: flags.data, onProgress });
      progress.stop();
    }
  } finally {
    progress.stop();
  }
  console.log(miniImagenetText({ data: flags.data }));
}

async function fetchData(name: string, flags: { readonly quiet?: boolean }): Promise<void> {
  checkName(name, ['omniglot'], 'to fetch');
  const progress = terminalProgress({ quiet: flags.quiet === true });
  try {
    let url = '';
    const folder = await untilInterrupted((signal) =>
      fetchOmniglot({
        signal,
        onProgress: (download) => {
          const file = download.url.split('/').at(-1)!;
          if (download.url !== url && download.total !== undefined) {
            progress.start(file, download.total / 1e6);
          }
          url = download.url;
          progress.update(download.received / 1e6);
        },
      }),
    );
    console.log(folder);
  } finally {
    progress.stop();
  }
}

function checkName(name: string, names: readonly string[], purpose: string): void {
  if (names.includes(name)) return;
  const expected = names.length > 1 ? `one of ${names.join(', ')}` : `${names[0]}, the one data set`;
  throw new OptionError(`expected ${expected} ${purpose}, got "${name}"${didYouMean(name, names)}`);
}
