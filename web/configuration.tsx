/** The configuration in force, with the place that each value comes from. */
import { LiveTable } from './show.tsx';

export function Configuration(): preact.JSX.Element {
  return (
    <>
      <LiveTable topic="configuration" caption="Entries, and where they stand" />
      <LiveTable topic="SHOW CONFIG" caption="All options, with their defaults" />
    </>
  );
}
