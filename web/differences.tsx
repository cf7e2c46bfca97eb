/** The differences between two versions, file by file, line by line. */
import { structuredPatch } from 'diff';
import type { Source } from './server.ts';

/** Lines that may differ: beyond that a comparison takes too long, and nobody reads it. */
const MOST_EDITS = 5_000;

interface Pair {
  readonly name: string;
  readonly before: string;
  readonly after: string;
}

export function Differences({
  before,
  after,
}: {
  readonly before: Source;
  readonly after: Source;
}): preact.JSX.Element {
  const pairs = pairsOf(before, after);
  const changed = pairs.filter((pair) => pair.before !== pair.after);
  return (
    <>
      <p role="status">
        From version {before.number} to version {after.number}: {changed.length} of {pairs.length} files
        differ.
      </p>
      {changed.map((pair) => (
        <FileDifferences key={pair.name} pair={pair} />
      ))}
    </>
  );
}

/** The files by their paths; where a text is missing, what was made of all files. */
function pairsOf(before: Source, after: Source): Pair[] {
  const isWhole = ({ files }: Source): boolean =>
    files.length > 0 && files.every(({ text }) => text !== null);
  if (!isWhole(before) || !isWhole(after))
    return [{ name: 'what was made of the files', before: before.code ?? '', after: after.code ?? '' }];
  const textsOf = ({ files }: Source): Map<string, string> =>
    new Map(files.map(({ path, text }) => [path, text ?? '']));
  const [old, next] = [textsOf(before), textsOf(after)];
  return [...new Set([...old.keys(), ...next.keys()])].map((name) => ({
    name,
    before: old.get(name) ?? '',
    after: next.get(name) ?? '',
  }));
}

function FileDifferences({ pair: { name, before, after } }: { readonly pair: Pair }): preact.JSX.Element {
  const patch = structuredPatch(name, name, before, after, '', '', {
    context: 3,
    maxEditLength: MOST_EDITS,
  });
  return (
    <figure>
      <figcaption>{name}</figcaption>
      {patch === undefined ? (
        <p>The two differ in too many lines.</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Differences in ${name}`}>
          <table class="code">
            <thead class="hidden">
              <tr>
                <th scope="col">change</th>
                <th scope="col">line</th>
              </tr>
            </thead>
            {patch.hunks.map((hunk) => (
              <tbody key={hunk.newStart}>
                <tr>
                  <th colSpan={2} scope="rowgroup">
                    from line {hunk.newStart}
                  </th>
                </tr>
                {hunk.lines.map((line, at) => (
                  <Line key={at} line={line} />
                ))}
              </tbody>
            ))}
          </table>
        </div>
      )}
    </figure>
  );
}

const KINDS: Readonly<Record<string, { readonly name: string; readonly style: string }>> = {
  '+': { name: 'added', style: 'added' },
  '-': { name: 'removed', style: 'removed' },
};

/** The sign tells the kind to those who see no colours; its name, to those who hear. */
function Line({ line }: { readonly line: string }): preact.JSX.Element {
  const sign = line[0] ?? ' ';
  const kind = KINDS[sign];
  return (
    <tr class={kind?.style ?? ''}>
      <td class="sign">
        <span aria-hidden="true">{sign}</span>
        <span class="hidden">{kind?.name ?? 'same'}</span>
      </td>
      <td>{line.slice(1)}</td>
    </tr>
  );
}
