/**
 * The audit log: the statements that changed something, or tried to, with the users who gave them and the outcomes. The last
 * ones are kept in memory; all of them are in the log, and in the audit log of the fleet.
 */
import type { AuditLine } from '../fleet/audit.ts';
import type { Logger } from '../telemetry/log.ts';
import { printable } from '../telemetry/printable.ts';

/** Entries that are kept in memory. */
const MOST = 500;
/** Characters of a statement or an outcome that are kept. */
const LONGEST = 500;

/** Who gives a statement, and where. */
export interface Author {
  readonly user: string;
  readonly entrance: 'console' | 'web console';
  /** of the other end of the connection */
  readonly address: string;
}

/** What an author wants to be done. */
export interface AuditedStatement {
  /** without secrets */
  readonly text: string;
  /** the tenant that it is about; null: none */
  readonly tenant: string | null;
}

export interface AuditEntry extends Author {
  readonly atMs: number;
  /** without secrets */
  readonly statement: string;
  /** `running`, `done`, or the reason why it failed */
  readonly outcome: string;
}

export class AuditTrail {
  readonly #log: Pick<Logger, 'info'>;
  readonly #share: (line: AuditLine) => void;
  readonly #now: () => number;
  readonly #entries: { -readonly [Key in keyof AuditEntry]: AuditEntry[Key] }[] = [];

  /** @param share writes a line to the audit log of the fleet */
  constructor(log: Pick<Logger, 'info'>, share: (line: AuditLine) => void, now: () => number = Date.now) {
    this.#log = log;
    this.#share = share;
    this.#now = now;
  }

  /** The oldest first. */
  get entries(): readonly AuditEntry[] {
    return this.#entries;
  }

  /**
   * A statement begins.
   * @returns called with the outcome: `done`, or why it failed
   */
  begin({ user, entrance, address }: Author, { text, tenant }: AuditedStatement): (outcome: string) => void {
    const statement = short(text);
    const entry = { atMs: this.#now(), user, entrance, address, statement, outcome: 'running' };
    this.#entries.push(entry);
    if (this.#entries.length > MOST) this.#entries.shift();
    this.#write(entry, `asks for ${statement}`);
    const source = address === '' ? entrance : `${entrance} from ${address}`;
    this.#share({ user, source, tenant, action: statement });
    return (outcome) => {
      entry.outcome = short(outcome);
      this.#write(entry, `asked for ${statement}: ${entry.outcome}`);
      if (outcome !== 'done')
        this.#share({ user, source, tenant, action: `${statement} was not carried out: ${entry.outcome}` });
    };
  }

  #write({ user, entrance, address, statement, outcome }: AuditEntry, words: string): void {
    this.#log.info(
      { event: 'audit', user, entrance, address, statement, outcome },
      `${entrance}: ${printable(user)} ${words}`,
    );
  }
}

function short(text: string): string {
  const shown = printable(text.trim());
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST)}…` : shown;
}
