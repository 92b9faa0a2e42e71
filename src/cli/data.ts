/** `anole data`: where data sets are, and fetching them on request. */
import { Command } from 'commander';
import { fetchOmniglot, omniglotInfo } from '../data/omniglot.ts';
import { didYouMean, OptionError } from '../errors.ts';
import { aligned, count } from './format.ts';
import { untilInterrupted } from './interrupt.ts';
import { terminalProgress } from './progress.ts';

export function dataCommand(): Command {
  const command = new Command('data')
    .summary('show where Omniglot is, or fetch it')
    .description(
      'Omniglot is read from two zips (or the folders they unpack to) and kept decoded in a cache file.\n' +
        'Nothing is downloaded unless `fetch` is called. Sine waves and glyphs need no data.',
    );
  command
    .command('info')
    .description('Says where a data set is read from and cached; without a name, of all.')
    .argument('[name]', 'omniglot')
    .option('--data <folder>', 'with the zips (default: what `anole data fetch` got)')
    .option('--json', 'print one JSON object in place of text')
    .action(info);
  command
    .command('fetch')
    .description('Downloads a data set (16 MB) from its official address and checks it.')
    .argument('<name>', 'omniglot')
    .option('--quiet', 'no progress on stderr')
    .action(fetchData);
  return command;
}

function info(name: string | undefined, flags: { readonly data?: string; readonly json?: boolean }): void {
  checkName(name ?? 'omniglot');
  const found = omniglotInfo({ data: flags.data });
  if (flags.json) {
    console.log(JSON.stringify({ name: 'omniglot', ...found }));
    return;
  }
  const [first, ...others] = found.sources;
  console.log(
    [
      `omniglot: ${count(found.classes)} characters, ${count(found.images)} drawings (MIT licence)`,
      '',
      aligned([
        first === undefined
          ? ['source', ...(found.problem ?? 'none').split('; ')]
          : ['source', first, ...others],
        ['cache', cacheLine(found)],
      ]),
    ].join('\n'),
  );
}

function cacheLine({ cacheFile, cached }: { readonly cacheFile?: string; readonly cached: boolean }): string {
  if (cacheFile === undefined) return 'none';
  return cached ? cacheFile : `${cacheFile} (made on first use)`;
}

async function fetchData(name: string, flags: { readonly quiet?: boolean }): Promise<void> {
  checkName(name);
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

function checkName(name: string): void {
  if (name === 'omniglot') return;
  throw new OptionError(
    `expected omniglot, the one data set to fetch, got "${name}"${didYouMean(name, ['omniglot'])}`,
  );
}
