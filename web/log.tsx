/** The last lines of the log. */
import { LiveTable } from './show.tsx';

export function Log(): preact.JSX.Element {
  return <LiveTable topic="log" caption="The last lines of the log, the newest first" />;
}

/** Who has changed what. */
export function Audit(): preact.JSX.Element {
  return (
    <LiveTable topic="audit" caption="Statements that changed something, or tried to, the newest first" />
  );
}
