/** Which Node runs us: isolated-vm ships binaries for exactly these majors. Any Node must understand this file. */

/** As package.json's `engines` says it. */
export const SUPPORTED_NODE = '24 (from 24.15) or 26';

export function isSupportedNode(version) {
  const [major, minor] = version.split('.').map(Number);
  return (major === 24 && minor >= 15) || major === 26;
}
