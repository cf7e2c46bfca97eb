/**
 * Replaces isolated-vm in a sandbox process. The package's own loader searches the file system; here the one file that may be
 * read is given by its path. Reading it is the only step that may need root (only root may be able to enter a checkout's
 * folder), so root's rights are given up immediately afterwards.
 */
import type isolatedVm from 'isolated-vm';

const [, file, user] = process.argv;
const addon: { exports: { ivm?: typeof isolatedVm } } = { exports: {} };
process.dlopen(addon, file!);

if (user) {
  process.setgroups!([]);
  process.setgid!(Number(user));
  process.setuid!(Number(user));
}

const ivm = addon.exports.ivm!;
// oxlint-disable-next-line import/no-default-export -- it replaces the package's own
export { ivm as default };
