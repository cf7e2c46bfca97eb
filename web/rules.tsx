/** Tenants, their cost, and the functions of one of them. */
import { Cost } from './cost.tsx';
import { Decisions } from './decisions.tsx';
import { useConsole } from './actions.tsx';
import { Failures } from './failures.tsx';
import { Rollout } from './rollout.tsx';
import { topicOf } from './server.ts';
import { LiveTable, useTable } from './show.tsx';
import { Table } from './table.tsx';
import { TenantActions } from './tenant-actions.tsx';
import { Versions } from './versions.tsx';

/** @param tenant '': none is looked at */
export function Rules({ part: tenant }: { readonly part: string }): preact.JSX.Element {
  return tenant === '' ? <Tenants /> : <Tenant key={tenant} tenant={tenant} />;
}

function Tenants(): preact.JSX.Element {
  const { answer, problem } = useTable('SHOW TENANTS');
  return (
    <>
      <p role="alert" class="problem">
        {problem}
      </p>
      {answer !== null && (
        <>
          <Table
            answer={answer}
            caption="Tenants"
            rowActions={(value) => (
              <a href={`#rules/${encodeURIComponent(value('name'))}`}>Look at {value('name')}</a>
            )}
          />
          <Cost answer={answer} />
        </>
      )}
      <LiveTable topic="SHOW FUNCTIONS" caption="Functions" />
    </>
  );
}

function Tenant({ tenant }: { readonly tenant: string }): preact.JSX.Element {
  const { rights } = useConsole();
  const versions = useTable(topicOf('FUNCTION VERSIONS', tenant));
  return (
    <section aria-label={tenant}>
      <p>
        <a href="#rules">All tenants</a>
      </p>
      <h2>{tenant}</h2>
      <p role="alert" class="problem">
        {versions.problem}
      </p>
      {rights !== 'watcher' && <TenantActions tenant={tenant} />}
      {versions.answer !== null && <Versions tenant={tenant} answer={versions.answer} />}
      <Failures tenant={tenant} />
      <Rollout tenant={tenant} />
      <Decisions part={tenant} />
      <LiveTable topic={topicOf('FUNCTION LOG', tenant)} caption="Log" />
    </section>
  );
}
