/** Headless Chromium, where it is installed, with the pages of a folder or a server. */
import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const places = [
  process.env.CHROMIUM ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];
const executablePath = places.find((path) => existsSync(path));

/** Why tests in a browser are skipped; false where they are not. */
export const noChromium =
  executablePath === undefined &&
  'no Chromium here: install it (apt-get install chromium) or set CHROMIUM to its path';

export async function launch(): Promise<Browser> {
  const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
  return chromium.launch({ executablePath, headless: true, args: [...flags, ...quiet] });
}

/** Opens a page, waits for its `globalThis.results`, and returns them; what the page complains of fails it. */
export async function resultsOf<T>(browser: Browser, url: string): Promise<T> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`${request.url()} was not loaded`));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  try {
    await page.goto(url);
    await page.waitForFunction('globalThis.results !== undefined');
    return (await page.evaluate('globalThis.results')) as T;
  } catch (cause) {
    throw new Error(`${url}: ${(cause as Error).message}\n${complaints.join('\n')}`, { cause });
  } finally {
    await page.close();
  }
}

/** The first line that a page writes to its console. */
export async function firstMessage(browser: Browser, url: string): Promise<string> {
  const page = await browser.newPage();
  const [message] = await Promise.all([page.waitForEvent('console'), page.goto(url)]);
  return message.text();
}
