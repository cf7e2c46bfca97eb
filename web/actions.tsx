/** Statements that change something: a dialog asks first, and shows the outcome. */
import { createContext, type ComponentChildren } from 'preact';
import { useContext, useEffect, useRef, useState } from 'preact/hooks';
import { LoggedOut, run, type Session } from './server.ts';

interface Asked {
  readonly statement: string;
  /** the consequence, in a sentence */
  readonly effect: string;
}

interface Console {
  readonly rights: Session['rights'];
  /** the dialog's content; null: closed */
  readonly asked: Asked | null;
  readonly ask: (asked: Asked | null) => void;
  /** the session has ended */
  readonly onEnd: () => void;
}

const Shared = createContext<Console>({ rights: 'watcher', asked: null, ask: () => {}, onEnd: () => {} });

export function useConsole(): Console {
  return useContext(Shared);
}

export function ActionsProvider({
  rights,
  onEnd,
  children,
}: {
  readonly rights: Session['rights'];
  readonly onEnd: () => void;
  readonly children: ComponentChildren;
}): preact.JSX.Element {
  const [asked, ask] = useState<Asked | null>(null);
  return <Shared.Provider value={{ rights, asked, ask, onEnd }}>{children}</Shared.Provider>;
}

/** A button that asks before it runs a statement. */
export function Action({
  name,
  statement,
  effect,
}: {
  readonly name: string;
  readonly statement: string;
  readonly effect: string;
}): preact.JSX.Element {
  const { ask } = useConsole();
  return (
    <button type="button" onClick={() => ask({ statement, effect })}>
      {name}
    </button>
  );
}

/** The dialog. */
export function Actions(): preact.JSX.Element {
  const { asked, ask, onEnd } = useConsole();
  const dialog = useRef<HTMLDialogElement>(null);
  const [outcome, setOutcome] = useState<readonly string[] | null>(null);
  const [isRunning, setRunning] = useState(false);
  useEffect(() => {
    setOutcome(null);
    if (asked === null) dialog.current?.close();
    else dialog.current?.showModal();
  }, [asked]);
  const perform = async (): Promise<void> => {
    if (asked === null) return;
    setRunning(true);
    try {
      const { error, notices, tag } = await run(asked.statement);
      if (error === null) setOutcome([`${tag}: done`, ...notices]);
      else setOutcome([error.message, error.detail ?? '', error.hint ?? ''].filter((line) => line !== ''));
    } catch (error) {
      if (error instanceof LoggedOut) onEnd();
      setOutcome([(error as Error).message]);
    } finally {
      setRunning(false);
    }
  };
  return (
    <dialog ref={dialog} onClose={() => ask(null)} aria-labelledby="asked">
      <h2 id="asked">{asked?.statement}</h2>
      <p>{asked?.effect}</p>
      <div role="status" class="outcome">
        {outcome?.map((line) => (
          <p key={line}>{line}</p>
        ))}
      </div>
      {outcome === null && (
        <button type="button" class="primary" disabled={isRunning} onClick={() => void perform()}>
          {isRunning ? 'Running …' : 'Do it'}
        </button>
      )}
      <button type="button" onClick={() => ask(null)}>
        {outcome === null ? 'Cancel' : 'Close'}
      </button>
    </dialog>
  );
}
