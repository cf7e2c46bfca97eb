/**
 * The files of the web console. In a checkout they are bundled from web/ at their first request; the published package has them
 * ready in dist/web/.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import * as esbuild from '../../platform/esbuild.ts';
import { IS_PACKAGE } from '../../platform/own-script.ts';

const compress = promisify(gzip);

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

/** A file as it is sent. */
export interface WebFile {
  readonly type: string;
  /** changes with the contents, in double quotes */
  readonly tag: string;
  readonly plain: Buffer<ArrayBuffer>;
  /** the same, compressed by gzip */
  readonly compressed: Buffer<ArrayBuffer>;
}

/** By path. Each is made once. */
export const FILES: ReadonlyMap<string, () => Promise<WebFile>> = new Map([
  ['/', once('text/html; charset=utf-8', () => Promise.resolve(PAGE))],
  ['/main.js', once('text/javascript; charset=utf-8', () => bundled('main.js', 'main.tsx'))],
  ['/style.css', once('text/css; charset=utf-8', () => bundled('style.css', 'style.css'))],
]);

function once(type: string, read: () => Promise<string>): () => Promise<WebFile> {
  let file: Promise<WebFile> | null = null;
  return () => {
    file ??= read().then((text) => asSent(type, text));
    file.catch(() => {
      file = null;
    });
    return file;
  };
}

async function asSent(type: string, text: string): Promise<WebFile> {
  const plain = Buffer.from(text);
  const tag = `"${createHash('sha256').update(plain).digest('hex').slice(0, 24)}"`;
  return { type, tag, plain, compressed: await compress(plain) };
}

async function bundled(made: string, source: string): Promise<string> {
  return IS_PACKAGE ? await readFile(WEB + made, 'utf8') : await bundle(source);
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
