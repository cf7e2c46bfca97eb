/** Actions on a tenant's functions. */
import { Action } from './actions.tsx';
import { quoted } from './server.ts';

const ACTIONS = [
  { name: 'Reload', verb: 'RELOAD', effect: "Looks at the tenant's files again." },
  { name: 'Pause', verb: 'PAUSE', effect: 'The failure policy answers each query until RESUME.' },
  { name: 'Resume', verb: 'RESUME', effect: 'Ends a pause or a rollback.' },
  {
    name: 'Roll back',
    verb: 'ROLLBACK',
    effect: 'The version before this one serves, until RESUME or PROMOTE.',
  },
] as const;

export function TenantActions({ tenant }: { readonly tenant: string }): preact.JSX.Element {
  return (
    <p class="tools">
      {ACTIONS.map(({ name, verb, effect }) => (
        <Action key={verb} name={name} statement={`${verb} FUNCTIONS ${quoted(tenant)}`} effect={effect} />
      ))}
    </p>
  );
}
