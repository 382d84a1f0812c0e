/** A real Chromium without a screen. Where there is none the tests that want one are skipped, which CI does not accept. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import axe from 'axe-core';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect, onTestFinished } from 'vitest';

const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = PLACES.find((path) => path !== undefined && existsSync(path));

/** Nothing but the page under test: no sandbox (the tests may run as root), no call to anyone else. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Where the screenshots go; `HOLDFAST_SCREENSHOTS` names another place. */
const SCREENSHOTS = process.env.HOLDFAST_SCREENSHOTS ?? join(tmpdir(), 'holdfast-screenshots');

/** True when the tests cannot run here. @throws in CI: a test that is skipped there proves nothing. */
export function noBrowser(): boolean {
  if (executablePath !== undefined) return false;
  if (process.env.CI)
    throw new Error('there is no Chromium: install Debian’s package `chromium`, or name one in CHROMIUM');
  console.warn('skipped: there is no Chromium (install the package `chromium`, or name one in CHROMIUM)');
  return true;
}

export interface OpenPage {
  readonly page: Page;
  /** What the console said that is worth a failure: refusals of the content security policy, exceptions. */
  readonly complaints: readonly string[];
  screenshot(name: string): Promise<void>;
  /** Fails when axe finds anything wrong with the page as it stands, in light and in dark. */
  accessible(when: string): Promise<void>;
}

/** Opens `url` in a browser of its own, closed when the test ends. */
export async function openPage(url: string): Promise<OpenPage> {
  const browser: Browser = await chromium.launch({ ...(executablePath && { executablePath }), args: FLAGS });
  onTestFinished(() => browser.close());
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 }, colorScheme: 'light' });
  page.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    const isComplaint = message.type() === 'error' || message.type() === 'warning';
    // A page that outlives its server hears of it; that is no fault of the page.
    if (isComplaint && !/net::ERR_/.test(message.text())) complaints.push(message.text());
  });
  await page.goto(url);
  return {
    page,
    complaints,
    screenshot: async (name) => {
      await mkdir(SCREENSHOTS, { recursive: true });
      await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
    },
    accessible: async (when) => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        expect(await violations(page), `${when}, ${colorScheme}`).toEqual([]);
      }
      await page.emulateMedia({ colorScheme: 'light' });
    },
  };
}

/** Through the debugger, not as a script of the page: its content security policy would refuse that. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = (await page.evaluate('axe.run({ resultTypes: ["violations"] })')) as {
    violations: { id: string; nodes: { html: string; failureSummary: string }[] }[];
  };
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)}\n${failureSummary}`),
  );
}
