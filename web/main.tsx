/** The web console: a login, then pages about the proxy and actions on it. */
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { Actions, ActionsProvider } from './actions.tsx';
import { Clusters } from './clusters.tsx';
import { Configuration } from './configuration.tsx';
import { Decisions } from './decisions.tsx';
import { Fleet } from './fleet.tsx';
import { listen } from './live.ts';
import { Login } from './login.tsx';
import { Audit, Log } from './log.tsx';
import { Overview } from './overview.tsx';
import { Rules } from './rules.tsx';
import { findSessionEnd, logout, session as findSession, type Session } from './server.ts';
import { ShowPage } from './show.tsx';

interface Page {
  readonly path: string;
  readonly name: string;
  /** also for administrators of tenants only */
  readonly isForTenants?: boolean;
  /** not for stats_users */
  readonly isForAdmins?: boolean;
  /** `part` is what the address has after the page's name and a slash; '': nothing */
  readonly view: (props: { readonly part: string }) => preact.JSX.Element;
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
  { path: 'fleet', name: 'Fleet', view: Fleet },
  { path: 'rules', name: 'Rules', isForTenants: true, view: Rules },
  { path: 'decisions', name: 'Decisions', isForTenants: true, view: Decisions },
  { path: 'log', name: 'Log', isForAdmins: true, view: Log },
  { path: 'audit', name: 'Audit', isForAdmins: true, view: Audit },
  { path: 'configuration', name: 'Configuration', view: Configuration },
];

/** The page that the address names, and the part of it. */
function usePlace(): readonly [path: string, part: string] {
  const [hash, setHash] = useState(location.hash.slice(1));
  useEffect(() => {
    const change = (): void => setHash(location.hash.slice(1));
    addEventListener('hashchange', change);
    return () => removeEventListener('hashchange', change);
  }, []);
  const at = hash.indexOf('/');
  return at < 0 ? [hash, ''] : [hash.slice(0, at), decoded(hash.slice(at + 1))];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function Console({
  session,
  onEnd,
}: {
  readonly session: Session;
  readonly onEnd: () => void;
}): preact.JSX.Element {
  const [path, part] = usePlace();
  const [isOffline, setOffline] = useState(false);
  const pages = PAGES.filter(
    ({ isForTenants = false, isForAdmins = false }) =>
      session.rights === 'admin' || (session.rights === 'tenant' ? isForTenants : !isForAdmins),
  );
  const page = pages.find((each) => each.path === path) ?? pages[0]!;
  useEffect(() => {
    listen(
      (isRefused) => {
        setOffline(true);
        if (isRefused) findSessionEnd(onEnd);
      },
      () => setOffline(false),
    );
  }, []);
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
          {pages.map(({ path: own, name }) => (
            <a key={own} href={`#${own}`} aria-current={own === page.path ? 'page' : undefined}>
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
        <p role="status" class="problem">
          {isOffline ? 'No connection to the proxy: what is shown may be old.' : ''}
        </p>
        <page.view key={page.path} part={page.path === path ? part : ''} />
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
