/** Tenants and their user functions. */
import { useState } from 'preact/hooks';
import { Action, useConsole } from './actions.tsx';
import { quoted, run, show } from './server.ts';
import { useTable } from './show.tsx';
import { Table } from './table.tsx';

/** Tables about one tenant: the words between SHOW and its name. */
const ABOUT = ['FUNCTION VERSIONS', 'FUNCTION LOG', 'SHADOW', 'CANARY'] as const;

export function Rules(): preact.JSX.Element {
  const { answer, problem, refresh } = useTable(() => show('tenants'), 'tenants');
  const functions = useTable(() => show('functions'), 'functions');
  const { rights } = useConsole();
  const [tenant, setTenant] = useState<string | null>(null);
  return (
    <>
      <p role="alert" class="problem">
        {problem}
      </p>
      {answer !== null && (
        <Table
          answer={answer}
          caption="Tenants"
          rowActions={(value) => (
            <button type="button" onClick={() => setTenant(value('name'))}>
              Look at {value('name')}
            </button>
          )}
        />
      )}
      {tenant !== null && (
        <section aria-label={tenant}>
          <h2>{tenant}</h2>
          {rights !== 'watcher' && <TenantActions tenant={tenant} onDone={refresh} />}
          {ABOUT.map((about) => (
            <About key={`${about} ${tenant}`} about={about} tenant={tenant} />
          ))}
        </section>
      )}
      {functions.answer !== null && <Table answer={functions.answer} caption="Functions" />}
    </>
  );
}

const TENANT_ACTIONS = [
  { name: 'Reload', verb: 'RELOAD', effect: "Looks at the tenant's files again." },
  { name: 'Pause', verb: 'PAUSE', effect: 'The failure policy answers each query until RESUME.' },
  { name: 'Resume', verb: 'RESUME', effect: 'Ends a pause or a rollback.' },
  {
    name: 'Roll back',
    verb: 'ROLLBACK',
    effect: 'The version before this one serves, until RESUME or PROMOTE.',
  },
  { name: 'Promote', verb: 'PROMOTE', effect: 'The candidate serves from now on.' },
] as const;

function TenantActions({
  tenant,
  onDone,
}: {
  readonly tenant: string;
  readonly onDone: () => void;
}): preact.JSX.Element {
  const name = quoted(tenant);
  return (
    <p class="tools">
      {TENANT_ACTIONS.map(({ name: action, verb, effect }) => (
        <Action
          key={verb}
          name={action}
          statement={`${verb} FUNCTIONS ${name}`}
          effect={effect}
          onDone={onDone}
        />
      ))}
    </p>
  );
}

function About({
  about,
  tenant,
}: {
  readonly about: string;
  readonly tenant: string;
}): preact.JSX.Element | null {
  const { answer } = useTable(() => run(`SHOW ${about} ${quoted(tenant)}`), `${about} ${tenant}`);
  return answer === null || answer.rows.length === 0 ? null : (
    <Table answer={answer} caption={about.toLowerCase()} />
  );
}
