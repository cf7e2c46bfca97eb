/**
 * Artifacts that another proxy of a fleet has made. They hold code as it runs there, which is checked as if somebody had written
 * it by hand: its syntax, its source map, and whether its decisions may be remembered.
 */
import { ArtifactError } from './artifact.ts';
import { checkedBundle } from './artifact-files.ts';
import type { Bundle, BundleResult } from './bundle-job.ts';
import { analyse } from './purity/analyse.ts';
import { NOT_ANALYSED } from './purity/purity.ts';
import { HOLD } from './purity/refusals.ts';

const LABEL = String.raw`"(?:[^"\\\n]|\\.)*"`;
/** What purity/held.ts inserts into functions with a body. Other insertions are not recognized, which is on the safe side. */
const HOLD_CALL = new RegExp(String.raw`${HOLD}\((?:${LABEL},\(\)=>[\w$]+,?)+\);`, 'g');

export function received(artifact: Uint8Array): BundleResult {
  try {
    return { kind: 'bundle', bundle: analysedAgain(checkedBundle(Buffer.from(artifact))) };
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    return {
      kind: 'failed',
      message: error.message,
      details: { place: null, frame: '' },
      inputs: [],
      isPassing: false,
    };
  }
}

/** The code was analysed before: the analysis of the code without its insertions must insert the same again. */
function analysedAgain(bundle: Bundle): Bundle {
  const bare = bundle.code.replaceAll(HOLD_CALL, '');
  // which packages were bundled is not known for certain
  const { code, purity } = analyse(bare, bundle.map, '/', () => false);
  return { ...bundle, purity: unlabelled(code) === unlabelled(bundle.code) ? purity : NOT_ANALYSED };
}

/** Places are shown relative to a folder of the other proxy. */
function unlabelled(code: string): string {
  return code.replaceAll(HOLD_CALL, (call) => call.replaceAll(new RegExp(LABEL, 'g'), '""'));
}
