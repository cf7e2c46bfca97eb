/** The login. */
import { useState } from 'preact/hooks';
import { login, type Session } from './server.ts';

export function Login({ onLogin }: { readonly onLogin: (session: Session) => void }): preact.JSX.Element {
  const [problem, setProblem] = useState('');
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const { elements } = event.currentTarget as HTMLFormElement;
    const valueOf = (name: string): string => (elements.namedItem(name) as HTMLInputElement).value;
    setProblem('');
    try {
      onLogin(await login(valueOf('user'), valueOf('password')));
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <main class="login">
      <h1>pgswitchyard</h1>
      <form onSubmit={(event) => void submit(event)}>
        <label>
          User
          <input name="user" autocomplete="username" required autofocus />
        </label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <button type="submit">Log in</button>
        <p role="alert" class="problem">
          {problem}
        </p>
      </form>
    </main>
  );
}
