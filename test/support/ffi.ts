/** node:ffi, which comes with Node 26: what is built on it is not tested with Node 24. */
const major = Number(process.versions.node.split('.')[0]);

/** for `skip` */
export const noFfi: string | false = major < 26 && 'node:ffi comes with Node 26';
