/** Close of a named statement. Servers keep the shared statement for other clients; only the client forgets it. */
import { CLOSE_COMPLETE } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import { Handled } from '../state/handled.ts';
import { Request } from '../state/entry.ts';
import type { Outcome } from './bring.ts';

export function closeNamed(client: LoggedInClient, name: string): Handled {
  if (client.server === null) {
    client.statements.remove(name);
    client.sendAhead(CLOSE_COMPLETE);
    return Handled.Done;
  }
  const outcome = dropNamed(client, name);
  if (client.outstanding.answered(Request.Close, CLOSE_COMPLETE, outcome)) client.sendAhead(CLOSE_COMPLETE);
  return Handled.Done;
}

/** The client forgets a statement, unless the server skips the Close. */
export function dropNamed({ statements }: LoggedInClient, name: string): Outcome {
  const statement = statements.remove(name);
  const pending = statements.unanswered.add(name, true);
  return {
    undo: () => {
      pending.settle();
      if (statement !== undefined) statements.named.restore(name, statement);
    },
    done: () => pending.settle(),
  };
}
