/** The candidate of a tenant's functions: its comparison with the serving version, and what can be done with it. */
import { useState } from 'preact/hooks';
import { Action, useConsole } from './actions.tsx';
import { quoted, topicOf } from './server.ts';
import { LiveTable } from './show.tsx';

export function Rollout({ tenant }: { readonly tenant: string }): preact.JSX.Element {
  const { rights } = useConsole();
  return (
    <section aria-labelledby="candidate">
      <h3 id="candidate">Candidate</h3>
      {rights !== 'watcher' && <Actions tenant={tenant} />}
      <LiveTable topic={topicOf('SHADOW', tenant)} caption="Shadow: how the candidate differs" />
      <LiveTable topic={topicOf('CANARY', tenant)} caption="Canary: what the clients of each version see" />
    </section>
  );
}

function Actions({ tenant }: { readonly tenant: string }): preact.JSX.Element {
  const [folder, setFolder] = useState('');
  const [share, setShare] = useState('5');
  const [promotes, setPromotes] = useState(false);
  const name = quoted(tenant);
  const from = folder === '' ? '' : ` FROM '${folder.replaceAll("'", "''")}'`;
  return (
    <>
      <p class="tools">
        <label>
          Folder of the candidate{' '}
          <input
            value={folder}
            placeholder="its .next files"
            onInput={(event) => setFolder(event.currentTarget.value)}
          />
        </label>
        <Action
          name="Shadow"
          statement={`SHADOW FUNCTIONS ${name}${from}`}
          effect="Asks the candidate about forwarded queries, and compares its answers. No client waits for it."
        />
        <Action
          name="Stop shadow"
          statement={`SHADOW FUNCTIONS ${name} OFF`}
          effect="The candidate is not asked any more."
        />
      </p>
      <p class="tools">
        <label>
          Share of clients, %{' '}
          <input
            class="short"
            inputMode="decimal"
            value={share}
            onInput={(event) => setShare(event.currentTarget.value)}
          />
        </label>
        <label>
          <input
            type="checkbox"
            checked={promotes}
            onChange={(event) => setPromotes(event.currentTarget.checked)}
          />{' '}
          promote it when it has proved itself
        </label>
        <Action
          name="Canary"
          statement={`CANARY FUNCTIONS ${name} ${share.trim() || '5'}%${promotes ? ' PROMOTE' : ''}`}
          effect="The candidate decides for this share of the clients, until it fails more often than the serving version."
        />
        <Action
          name="Stop canary"
          statement={`CANARY FUNCTIONS ${name} OFF`}
          effect="The serving version decides for all clients again."
        />
        <Action
          name="Promote"
          statement={`PROMOTE FUNCTIONS ${name}`}
          effect="The candidate serves from now on, for all clients."
        />
      </p>
    </>
  );
}
