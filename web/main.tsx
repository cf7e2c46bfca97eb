/** The web console: a login, then pages about the proxy and actions on it. */
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { Actions, ActionsProvider } from './actions.tsx';
import { Clusters } from './clusters.tsx';
import { Configuration } from './configuration.tsx';
import { Login } from './login.tsx';
import { Log } from './log.tsx';
import { Overview } from './overview.tsx';
import { Rules } from './rules.tsx';
import { logout, session as findSession, type Session } from './server.ts';
import { ShowPage } from './show.tsx';

interface Page {
  readonly path: string;
  readonly name: string;
  /** also for administrators of tenants only */
  readonly isForTenants?: boolean;
  readonly view: () => preact.JSX.Element;
}

const PAGES: readonly Page[] = [
  { path: 'overview', name: 'Overview', view: Overview },
  {
    path: 'databases',
    name: 'Databases',
    view: () => <ShowPage table="databases" actions={['pause', 'resume', 'reconnect', 'kill']} />,
  },
  { path: 'pools', name: 'Pools', view: () => <ShowPage table="pools" /> },
  { path: 'clients', name: 'Clients', view: () => <ShowPage table="clients" actions={['kill_client']} /> },
  { path: 'servers', name: 'Servers', view: () => <ShowPage table="servers" /> },
  { path: 'clusters', name: 'Clusters', view: Clusters },
  { path: 'rules', name: 'Rules', isForTenants: true, view: Rules },
  { path: 'log', name: 'Log', view: Log },
  { path: 'configuration', name: 'Configuration', view: Configuration },
];

function useHash(): string {
  const [hash, setHash] = useState(location.hash.slice(1));
  useEffect(() => {
    const change = (): void => setHash(location.hash.slice(1));
    addEventListener('hashchange', change);
    return () => removeEventListener('hashchange', change);
  }, []);
  return hash;
}

function Console({
  session,
  onEnd,
}: {
  readonly session: Session;
  readonly onEnd: () => void;
}): preact.JSX.Element {
  const hash = useHash();
  const pages = PAGES.filter(({ isForTenants }) => session.rights !== 'tenant' || isForTenants);
  const page = pages.find(({ path }) => path === hash) ?? pages[0]!;
  useEffect(() => {
    document.title = `${page.name} · pgswitchyard`;
  }, [page]);
  return (
    <ActionsProvider rights={session.rights} onEnd={onEnd}>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById('main')?.focus();
        }}
      >
        Skip to the page
      </a>
      <header>
        <strong>pgswitchyard</strong>
        <nav aria-label="Pages">
          {pages.map(({ path, name }) => (
            <a key={path} href={`#${path}`} aria-current={path === page.path ? 'page' : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <span class="who">
          {session.user}
          <button type="button" onClick={() => void logout().finally(onEnd)}>
            Log out
          </button>
        </span>
      </header>
      <main id="main" tabIndex={-1}>
        <h1>{page.name}</h1>
        <page.view key={page.path} />
      </main>
      <Actions />
    </ActionsProvider>
  );
}

function App(): preact.JSX.Element | null {
  const [session, setSession] = useState<Session | null | undefined>(undefined);
  useEffect(() => {
    findSession().then(setSession, () => setSession(null));
  }, []);
  if (session === undefined) return null;
  if (session === null) return <Login onLogin={setSession} />;
  return <Console session={session} onEnd={() => setSession(null)} />;
}

render(<App />, document.getElementById('app')!);
