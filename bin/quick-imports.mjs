// Finds the files of relative imports without asking the file system about each part of each path, which takes as long as
// reading the files. Source and built code name each file in full. Imports of packages, and within them, are left to Node.
import * as nodeModule from 'node:module';

const root = new URL('../', import.meta.url).href;
const packages = `${root}node_modules/`;
const formats = { '.ts': 'module-typescript', '.js': 'module' };

nodeModule.registerHooks?.({
  resolve(specifier, context, next) {
    const { parentURL = '' } = context;
    const format = formats[specifier.slice(-3)];
    if (format === undefined || !/^\.\.?\//.test(specifier)) return next(specifier, context);
    if (!parentURL.startsWith(root) || parentURL.startsWith(packages)) return next(specifier, context);
    return { url: new URL(specifier, parentURL).href, format, shortCircuit: true };
  },
});
