/**
 * The files of the web console. In a checkout they are bundled from web/ at their first request; the published package has them
 * ready in dist/web/.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import * as esbuild from '../../platform/esbuild.ts';
import { IS_PACKAGE } from '../../platform/own-script.ts';

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>pgswitchyard</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="style.css" />
  </head>
  <body>
    <div id="app"></div>
    <script type="module" src="main.js"></script>
  </body>
</html>
`;

const WEB = fileURLToPath(new URL('../../../web/', import.meta.url));

export interface WebFile {
  readonly type: string;
  text(): Promise<string>;
}

/** By path. */
export const FILES: ReadonlyMap<string, WebFile> = new Map([
  ['/', { type: 'text/html; charset=utf-8', text: () => Promise.resolve(PAGE) }],
  ['/main.js', bundled('main.js', 'main.tsx', 'text/javascript; charset=utf-8')],
  ['/style.css', bundled('style.css', 'style.css', 'text/css; charset=utf-8')],
]);

function bundled(made: string, source: string, type: string): WebFile {
  let text: Promise<string> | null = null;
  return {
    type,
    text: () => {
      text ??= IS_PACKAGE ? readFile(WEB + made, 'utf8') : bundle(source);
      text.catch(() => {
        text = null;
      });
      return text;
    },
  };
}

/** Makes one script or style sheet of web/. */
export async function bundle(source: string): Promise<string> {
  const { text } = await esbuild.bundle({
    entryPoints: [WEB + source],
    minify: true,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
  });
  return text;
}
